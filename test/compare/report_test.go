package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The scenarios and the known differences, as they are written, make sense.
func TestWritten(t *testing.T) {
	if err := check(all()); err != nil {
		t.Error(err)
	}
	if _, err := readKnown("known.yaml"); err != nil {
		t.Error(err)
	}
}

func results(rows ...*Row) *Results {
	return &Results{Proxies: []string{"iptables", "ipvs", "direct"}, Rows: rows}
}

func row(name, iptables, ipvs, direct string) *Row {
	return &Row{Chapter: "C", Scenario: "S", Case: name, Outcomes: map[string]string{"iptables": iptables, "ipvs": ipvs, "direct": direct}}
}

func known(t *testing.T, text string) []*Known {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := readKnown(path)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A difference needs a reason that fits it, and a reason a difference.
func TestKnownDifferences(t *testing.T) {
	const entry = "- {proxies: [direct], cases: C / S / a, outcome: lost, reason: why}\n"
	tests := []struct {
		name, known string
		row         *Row
		fault       string
		unused      int
	}{
		{name: "equal", known: "[]", row: row("a", "p1", "p2", "p1")},
		{name: "different", known: "[]", row: row("a", "p1", "p1", "lost"), fault: "C / S / a: direct: lost, but iptables: p1"},
		{name: "known", known: entry, row: row("a", "p1", "p1", "lost")},
		{name: "another outcome", known: entry, row: row("a", "p1", "p1", "lost; or p1"), fault: "lost; or p1", unused: 1},
		{name: "another case", known: entry, row: row("ab", "p1", "p1", "lost"), fault: "C / S / ab", unused: 1},
		{name: "known and not seen", known: entry, row: row("a", "p1", "p1", "p1"), unused: 1},
		{name: "known, seen at times, and not seen", known: strings.Replace(entry, "}", ", sometimes: true}", 1), row: row("a", "p1", "p1", "p1")},
		{name: "iptables mode could not", known: "[]", row: row("a", notPlayed+"x", "p1", "p1")},
		{name: "kube-ipvs could not", known: "[]", row: row("a", "p1", "p1", notPlayed+"x"), fault: "not played"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			faults, unused := apply(known(t, tt.known), results(tt.row), []string{"direct"})
			for _, f := range faults {
				got = append(got, f.String())
			}
			if len(unused) != tt.unused {
				t.Errorf("%d reasons without a difference, want %d", len(unused), tt.unused)
			}
			if all := strings.Join(got, "\n"); (all == "") != (tt.fault == "") || !strings.Contains(all, tt.fault) {
				t.Errorf("got %q, want %q", all, tt.fault)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	r := results(row("a", "p1", "p2", "p1"), row("b", notPlayed+"x", "p1", notPlayed+"x"), row("c", "p1", "p1", "p1"))
	want := "2 cases: kube-proxy-ipvs equal 1, kube-ipvs (direct) equal 2; 1 that iptables mode could not play"
	if got := r.summary([]string{"direct"}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Cases that differ in protocol and family only are one line, if all proxies did
// the same in them.
func TestMerge(t *testing.T) {
	rows := []*Row{
		row("c1 → ClusterIP, TCP IPv4", "p1", "p1", "p1"), row("c1 → ClusterIP, TCP IPv6", "p1", "p1", "p1"),
		row("c1 → ClusterIP, UDP IPv4", "p1", "p1", "p1"), row("c1 → ClusterIP, UDP IPv6", "p1", "lost", "p1"),
		row("held ones", "live", "live", "live"),
	}
	want := []string{"c1 → ClusterIP, TCP IPv4, TCP IPv6, UDP IPv4", "c1 → ClusterIP, UDP, IPv6", "held ones"}
	for i, m := range merge(rows, results().Proxies) {
		if m.String() != want[i] {
			t.Errorf("line %d is %q, want %q", i, m, want[i])
		}
	}
}

// The results of two labs are put together by case.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	a := &Results{Proxies: []string{"iptables"}, Rows: []*Row{{Chapter: "C", Scenario: "S", Case: "a", Outcomes: map[string]string{"iptables": "p1"}}}}
	b := &Results{Proxies: []string{"direct"}, Rows: []*Row{
		{Chapter: "C", Scenario: "S", Case: "b", Outcomes: map[string]string{"direct": "p2"}},
		{Chapter: "C", Scenario: "S", Case: "a", Outcomes: map[string]string{"direct": "p1"}},
	}}
	var paths []string
	for name, r := range map[string]*Results{"a": a, "b": b} {
		paths = append(paths, filepath.Join(dir, name))
		if err := r.writeTo(paths[len(paths)-1]); err != nil {
			t.Fatal(err)
		}
	}
	got := &Results{}
	if err := got.read(paths); err != nil {
		t.Fatal(err)
	}
	got.complete()
	for _, row := range got.Rows {
		if row.Case == "a" && (row.Outcomes["iptables"] != "p1" || row.Outcomes["direct"] != "p1") {
			t.Errorf("case a: %v", row.Outcomes)
		}
		if row.Case == "b" && !strings.HasPrefix(row.Outcomes["iptables"], notPlayed) {
			t.Errorf("case b: %v", row.Outcomes)
		}
	}
	if len(got.Rows) != 2 || !slices.Equal(got.Proxies, []string{"iptables", "direct"}) {
		t.Errorf("%d rows of %v", len(got.Rows), got.Proxies)
	}
}

// Of a scenario that a proxy played twice, the second result counts.
func TestReadAgain(t *testing.T) {
	first := &Results{Proxies: []string{"iptables", "direct"}, Rows: []*Row{
		{Chapter: "C", Scenario: "S", Case: "a", Outcomes: map[string]string{"iptables": "p1", "direct": "lost"}},
		{Chapter: "C", Scenario: "S", Case: "the scenario", Outcomes: map[string]string{"direct": notPlayed + "x"}},
		{Chapter: "C", Scenario: "T", Case: "a", Outcomes: map[string]string{"iptables": "p2", "direct": "p2"}},
	}}
	again := &Results{Proxies: []string{"iptables", "direct"}, Rows: []*Row{
		{Chapter: "C", Scenario: "S", Case: "a", Outcomes: map[string]string{"iptables": "p1", "direct": "p1"}},
	}}
	paths := []string{filepath.Join(t.TempDir(), "1"), filepath.Join(t.TempDir(), "2")}
	if err := errors.Join(first.writeTo(paths[0]), again.writeTo(paths[1])); err != nil {
		t.Fatal(err)
	}
	got := &Results{}
	if err := got.read(paths); err != nil {
		t.Fatal(err)
	}
	for _, row := range got.Rows {
		if row.Outcomes["direct"] != row.Outcomes["iptables"] {
			t.Errorf("%s: %v", row.ID(), row.Outcomes)
		}
	}
	if len(got.Rows) != 2 || len(got.Proxies) != 2 {
		t.Errorf("%d rows of %v", len(got.Rows), got.Proxies)
	}
}
