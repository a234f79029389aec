package main

import (
	"slices"
	"strings"
)

// merged is a line of a table: cases of one scenario that differ in protocol and
// family only, and that had the same outcomes.
type merged struct {
	*Row
	what string
	ways []string
}

// merge returns the lines of a scenario's rows.
func merge(rows []*Row, proxies []string) []*merged {
	var out []*merged
	for _, row := range rows {
		what, way := split(row.Case)
		at := slices.IndexFunc(out, func(m *merged) bool {
			return m.what == what && !slices.ContainsFunc(proxies, func(p string) bool { return m.Outcomes[p] != row.Outcomes[p] || m.Reasons[p] != row.Reasons[p] })
		})
		if at < 0 {
			out = append(out, &merged{Row: row, what: what})
			at = len(out) - 1
		}
		if way != "" {
			out[at].ways = append(out[at].ways, way)
		}
	}
	return out
}

// split parts a case from the protocol and family that Ask.String ends it with.
func split(name string) (what, way string) {
	i := strings.LastIndex(name, ", ")
	if i < 0 || !strings.HasSuffix(name, " IPv4") && !strings.HasSuffix(name, " IPv6") {
		return name, ""
	}
	return name[:i], name[i+2:]
}

// String names the line: "c1 → node port, TCP and UDP, IPv4".
func (m *merged) String() string {
	var protocols, families []string
	for _, way := range m.ways {
		protocol, family, _ := strings.Cut(way, " ")
		if !slices.Contains(protocols, protocol) {
			protocols = append(protocols, protocol)
		}
		if !slices.Contains(families, family) {
			families = append(families, family)
		}
	}
	switch {
	case len(m.ways) == 0:
		return m.what
	case len(m.ways) < len(protocols)*len(families):
		return m.what + ", " + strings.Join(m.ways, ", ")
	}
	return m.what + ", " + strings.Join(protocols, " and ") + ", " + strings.Join(families, " and ")
}
