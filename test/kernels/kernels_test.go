package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const said = `=== PACKAGE ipset
=== RUN   TestOne
--- PASS: TestOne (0.01s)
    --- FAIL: TestTwo/part (0.00s)
--- FAIL: TestTwo (1.00s)
--- SKIP: TestThree (0.00s)
=== RUN   TestFour
=== RUN   TestFour/part
    --- SKIP: TestFour/part (0.00s)
--- PASS: TestFour (0.00s)
FAIL
=== ENDED 1
=== PACKAGE netutil
panic: test timed out after 3h
=== ENDED 2
=== PACKAGE proxier/node
--- FAIL: TestFive (0.01s)
panic: a goroutine's
=== ENDED 2
=== PACKAGE test/life
=== RUN   TestSix
--- PASS: TestSeven (0.01s)
=== ENDED 0
=== PACKAGE test/takeover
testing: warning: no tests to run
PASS
=== ENDED 0
=== PACKAGE test/wire
--- PASS: TestReach (0.01s)
`

// A test that fails is named; a package that ends badly without one, or before all of its
// tests, and a machine that stops within one, are not taken for good.
func TestRead(t *testing.T) {
	want := outcome{
		passed: map[string][]string{"ipset": {"TestOne", "TestFour"}, "test/life": {"TestSeven"}, "test/wire": {"TestReach"}},
		failed: map[string][]string{"ipset": {"TestTwo"}, "proxier/node": {"TestFive"}}, parts: 1, skipped: 2,
		broken: []string{"netutil (exit code 2)", "proxier/node (exit code 2)", "test/life: TestSix has not ended", "test/wire has not ended"},
	}
	if got := read(said); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A suite of which nothing ran, or nothing that was chosen, has not passed.
func TestUnplayed(t *testing.T) {
	s := &suite{packages: []string{"ipset", "test/life"}, run: "^TestFresh$/^nft$"}
	some := outcome{passed: map[string][]string{"test/life": {"TestFresh"}}}
	if got, want := s.unplayed(some), []string{"ipset: nothing was played", "no part of a test was played"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	all := outcome{passed: some.passed, failed: map[string][]string{"ipset": {"TestOne"}}, parts: 1}
	if got := s.unplayed(all); len(got) > 0 {
		t.Errorf("%q, want none", got)
	}
}

// What is played again is what has failed, with the parts that were chosen.
func TestScript(t *testing.T) {
	s := &suite{packages: []string{"ipset", "test/life"}, run: "^TestFresh$/^nft$"}
	got := s.script("5.10", map[string][]string{"test/life": {"TestFresh"}})
	if strings.Contains(got, "PACKAGE ipset") || !strings.Contains(got, "-test.run '^(TestFresh)$/^nft$'") {
		t.Errorf("%s", got)
	}
}

// The table takes its place in the document, and a later result that of an earlier.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernels.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var all results
	for _, r := range []Result{
		{Kernel: "4.18", Version: "4.18.0-25", Suite: "host", Date: "2026-01-01", Failed: []string{"TestFresh"}},
		{Kernel: "4.18", Version: "4.18.0-25", Suite: "host", Date: "2026-01-02", Passed: 3, Again: 1, Limits: []string{"it lacks x"}},
		{Kernel: "4.18", Version: "4.18.0-25", Suite: "nft", Date: "2026-01-03", Passed: 1, Skipped: 2, Limits: []string{"it lacks x"}},
	} {
		all.put(r)
	}
	if err := all.write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before\n" + begin, end + "after\n", "\n1. it lacks x\n",
		"| 4.18.0-25 | 2026-01-02 | 3 pass (1 at the second try), limit 1 | 1 pass, 2 skip, limit 1 | not played |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if all.complete() {
		t.Error("the table is not whole")
	}
}
