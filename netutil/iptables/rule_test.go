package iptables

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func canonical(text string) (string, error) {
	r, err := Parse("X", text)
	if err != nil {
		return "", err
	}
	return r.Canonical()
}

func TestCanonicalDiffers(t *testing.T) {
	for _, pair := range [][2]string{
		{"-s 10.0.0.1 -j X", "! -s 10.0.0.1 -j X"}, {"-s 10.0.0.1 -j X", "-d 10.0.0.1 -j X"}, {"-s 10.0.0.1/31 -j X", "-s 10.0.0.1 -j X"},
		{"-p tcp --dport 1 -j X", "-p udp --dport 1 -j X"}, {"-p tcp --dport 1 -j X", "-p tcp --sport 1 -j X"}, {"-j X", "-g X"},
		{"-m set --match-set A dst -j X", "-m set ! --match-set A dst -j X"}, {"-m set --match-set A dst,dst -j X", "-m set --match-set A dst -j X"},
		{"-j MARK --or-mark 1", "-j MARK --set-mark 1"}, {"-m mark --mark 1 -j X", "-m mark --mark 1/1 -j X"}, {"-j X", "-m comment --comment x -j X"},
		{"-m set --match-set A dst -m set --match-set B src -j X", "-m set --match-set A src -m set --match-set B dst -j X"},
		{"-j REJECT", "-j REJECT --reject-with tcp-reset"}, {"! -s 0.0.0.0/0 -j X", "-j X"},
	} {
		a, err1 := canonical(pair[0])
		b, err2 := canonical(pair[1])
		if a == b || err1 != nil || err2 != nil {
			t.Errorf("%q and %q are both %q (%v, %v)", pair[0], pair[1], a, err1, err2)
		}
	}
}

func TestParse(t *testing.T) {
	r, err := Parse("A", `! --source 10.0.0.1 -p tcp -m comment --comment "say \"-j B\"" -m set ! --match-set S dst,src -j C --to 1`)
	want := []Option{
		{true, "-s", []string{"10.0.0.1"}}, {false, "-p", []string{"tcp"}}, {false, "-m", []string{"comment"}}, {false, "--comment", []string{`say "-j B"`}},
		{false, "-m", []string{"set"}}, {true, "--match-set", []string{"S", "dst,src"}}, {false, "-j", []string{"C"}}, {false, "--to", []string{"1"}},
	}
	if !reflect.DeepEqual(r.Options, want) || r.Target() != "C" || err != nil {
		t.Errorf("target %q, %v, options %q, want %q", r.Target(), err, r.Options, want)
	}
	if got := want[5].String(); got != "! --match-set S dst,src" {
		t.Errorf("an option is printed as %q", got)
	}
	if r, err := Parse("A", `-m comment --comment "x -j C`); err == nil || r.Target() != "" {
		t.Errorf("a quote that is not closed: %v", r)
	}
}

// What is wrong with a line does not hide the others.
func TestLines(t *testing.T) {
	const text = "# x\n-A LOST -j A\n*nat\n:POSTROUTING DROP [1:2]\n:A - [0:0]\n:B\nnonsense\n\n[3:4] -A A -j B\nCOMMIT\n*filter\n-A C\n*raw\n"
	var got []string
	for l, err := range Lines(text) {
		if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, fmt.Sprintf("%+v", l))
		}
	}
	want := []string{
		"{Table: Chain:LOST Policy: Rule:-j A}", "{Table:nat Chain:POSTROUTING Policy:DROP Rule:}", "{Table:nat Chain:A Policy:- Rule:}",
		`line 6: ":B": a chain without a policy`, `line 7: "nonsense": not a rule`, "{Table:nat Chain:A Policy: Rule:-j B}",
		"{Table:filter Chain:C Policy: Rule:}", `line 13: "*raw": table filter has no COMMIT`, "table raw has no COMMIT",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
