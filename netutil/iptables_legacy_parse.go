package netutil

import (
	"encoding/binary"
	"errors"
)

// legacyChain is a chain of a legacy table.
type legacyChain struct {
	Chain
	base  bool
	rules []legacyRule
}

// legacyRule is what matters of a rule.
type legacyRule struct {
	to   string // the chain that it leads to; empty: to none
	word string // what else it does, as iptables names it
	body []byte // the kernel's words for it, less its counters and where in the table to stands
}

// Where things stand in struct ipt_entry and ip6t_entry behind the address part,
// whose length differs, and in struct xt_entry_target.
const (
	entryTarget, entryNext, entryFrom = 4, 6, 8 // behind the part that matches addresses
	targetName, targetData            = 2, 32
)

// hookNames are the built-in chains by the kernel's number of their hook.
var hookNames = [5]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

var errLegacyShape = errors.New("the kernel's answer has an unknown layout")

// legacyParser takes a table apart, entry by entry.
type legacyParser struct {
	table     string
	addresses int            // length of the part that matches addresses
	counters  int            // where the counters stand
	bases     map[int]string // built-in chains by where they begin
	heads     map[int]string // the others
	chains    []legacyChain
	jumps     []legacyJump
}

// legacyJump says where in the table a rule leads to.
type legacyJump struct{ chain, rule, to int }

func (s *legacySocket) parse(table string, info legacyInfo, p []byte) ([]legacyChain, error) {
	l := legacyParser{table: table, addresses: 84, counters: 96, bases: map[int]string{}, heads: map[int]string{}}
	if s.family == IPv6 {
		l.addresses, l.counters = 136, 152
	}
	for i, name := range hookNames {
		if info.hooks&(1<<i) != 0 {
			l.bases[int(info.entry[i])] = name
		}
	}
	for at := 0; at < len(p); {
		n, err := l.entry(at, p[at:])
		if err != nil {
			return nil, err
		}
		at += n
	}
	for _, j := range l.jumps {
		l.chains[j.chain].rules[j.rule].to = l.heads[j.to]
	}
	return l.chains[:max(len(l.chains)-1, 0)], nil // the last one is the table's end
}

// entry takes in the entry that stands at a place, and returns its length.
func (l *legacyParser) entry(at int, e []byte) (int, error) {
	const length = 16 // of the counters
	if len(e) < l.counters+length {
		return 0, errLegacyShape
	}
	target := int(binary.NativeEndian.Uint16(e[l.addresses+entryTarget:]))
	next := int(binary.NativeEndian.Uint16(e[l.addresses+entryNext:]))
	if next > len(e) || target < l.counters+length || target+targetData > next {
		return 0, errLegacyShape
	}
	e = e[:next:next]
	name, data := cString(e[target+targetName:target+targetData]), e[target+targetData:]
	base, isBase := l.bases[at]
	switch {
	case isBase:
		l.chains = append(l.chains, legacyChain{Chain: Chain{l.table, base}, base: true})
	case name == "ERROR": // the head of a chain, or the table's end
		l.heads[at+next] = cString(data)
		l.chains = append(l.chains, legacyChain{Chain: Chain{l.table, cString(data)}})
		return next, nil
	case len(l.chains) == 0:
		return 0, errLegacyShape
	}
	clear(e[l.counters : l.counters+length])
	clear(e[l.addresses+entryFrom : l.addresses+entryFrom+4]) // the kernel's own
	c := &l.chains[len(l.chains)-1]
	word := name
	if name == "" && len(data) >= 4 { // the standard target: a verdict, or a place in the table
		to := int(int32(binary.NativeEndian.Uint32(data)))
		if to >= 0 {
			clear(data[:4])
		} else {
			word = legacyWords[to]
		}
		if to >= 0 && to != at+next { // else it has no target and goes on
			l.jumps = append(l.jumps, legacyJump{len(l.chains) - 1, len(c.rules), to})
		}
	}
	c.rules = append(c.rules, legacyRule{word: word, body: e})
	return next, nil
}

// legacyWords are the names of verdicts (IPT_RETURN and so on).
var legacyWords = map[int]string{-1: "DROP", -2: "ACCEPT", -5: "RETURN"}
