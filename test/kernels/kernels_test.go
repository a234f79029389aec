package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
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
=== RUN   TestEight
=== PAUSE TestEight
=== CONT  TestEight
    module_test.go:20: needs modules: a
        second line
=== NAME  TestNine
    module_test.go:21: not so
--- SKIP: TestEight (0.00s)
=== RUN   TestNine/part
    module_test.go:30: first
    module_test.go:31: no kernel 5.13
--- PASS: TestNine (0.00s)
    --- SKIP: TestNine/part (0.00s)
panic: test timed out after 3h
=== ENDED 2
=== PACKAGE proxier/node
--- FAIL: TestFive (0.01s)
panic: a goroutine's
=== ENDED 2
=== PACKAGE test/suite/life
=== RUN   TestSix
--- PASS: TestSeven (0.01s)
=== ENDED 0
=== PACKAGE test/suite/takeover
testing: warning: no tests to run
PASS
=== ENDED 0
=== PACKAGE test/suite/wire
--- PASS: TestReach (0.01s)
`

// A test that fails is named; a package that ends badly without one, or before all of its
// tests, and a machine that stops within one, are not taken for good.
func TestRead(t *testing.T) {
	want := outcome{
		passed: map[string][]string{"ipset": {"TestOne", "TestFour"}, "netutil": {"TestNine"}, "test/suite/life": {"TestSeven"}, "test/suite/wire": {"TestReach"}},
		failed: map[string][]string{"ipset": {"TestTwo"}, "proxier/node": {"TestFive"}}, parts: 1,
		skips: []Skip{
			{"ipset", "TestThree", ""}, {"ipset", "TestFour/part", ""},
			{"netutil", "TestEight", "needs modules: a"}, {"netutil", "TestNine/part", "no kernel 5.13"},
		},
		broken: []string{"netutil (exit code 2)", "proxier/node (exit code 2)", "test/suite/life: TestSix has not ended", "test/suite/wire has not ended"},
	}
	if got := read(said); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A suite has not passed if a package, a chosen test or a chosen part of one was not played,
// unless the kernel is known not to survive it.
func TestUnplayed(t *testing.T) {
	one := func(test string) map[string][]string { return map[string][]string{"test/suite/life": {test}} }
	for _, tt := range []struct {
		suite suite
		out   outcome
		want  []string
	}{
		{suite{packages: []string{"ipset", "test/suite/life"}}, outcome{passed: one("TestFresh")}, []string{"ipset: nothing was played"}},
		{suite{packages: []string{"test/suite/life"}, run: "^(TestOne|TestTwo)$"}, outcome{passed: one("TestOne")}, []string{"TestTwo was not played"}},
		{suite{packages: []string{"test/suite/life"}, run: "^TestOne$/^(ipvs|iptables)_to_image$"}, outcome{failed: one("TestOne"), parts: 1}, []string{"1 of 2 parts of a test were played"}},
		{suite{packages: []string{"test/suite/life"}, run: "^TestOne$/."}, outcome{passed: one("TestOne")}, []string{"0 of 1 parts of a test were played"}},
		{suite{packages: []string{"test/suite/life"}, run: "^TestOne$/^nft$"}, outcome{failed: one("TestOne"), parts: 1}, nil},
		{suite{packages: []string{"test/suite/life"}, name: limits[0].suite, run: "^(TestOne|" + limits[0].test + ")$"}, outcome{passed: one("TestOne")}, nil},
	} {
		if got := tt.suite.unplayed(limits[0].kernel, tt.out); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.suite.run, got, tt.want)
		}
	}
}

// A suite is known by its name or is a package's; the table of whole packages has all that
// make lab-test plays.
func TestChoose(t *testing.T) {
	t.Chdir("../..")
	got, err := chooseSuites("test-kernels", []string{"wire", "test/suite/wire"})
	if err != nil || len(got) != 2 || got[0].run == "" || got[1].run != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := chooseSuites("test-kernels", []string{"docs"}); err == nil || !strings.Contains(err.Error(), "nft-alone") {
		t.Errorf("a folder without tests: %v", err)
	}
	if _, err := chooseSuites("test-uml", []string{"wire"}); err == nil || !strings.Contains(err.Error(), "test-uml has no suite wire; there are: test/suite/wire, ") {
		t.Errorf("a suite of the other target: %v", err)
	}
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range tables["test-uml"].suites {
		names = append(names, s.name)
	}
	// proxier/balance holds a model to the scheduler of one kernel.
	if want := "\nLAB_PACKAGES := " + strings.Join(names, " ") + " proxier/balance\n"; !strings.Contains(string(text), want) {
		t.Errorf("the Makefile has no line%s", want)
	}
}

// A target plays its own kernels; others are refused with a list of its own.
func TestChooseKernels(t *testing.T) {
	for target, table := range tables {
		for _, tt := range []struct{ names, want []string }{
			{nil, table.usual}, {[]string{"all"}, table.kernels}, {known[target], known[target]}, {table.kernels, table.kernels},
		} {
			if got, err := chooseKernels(target, tt.names); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q: %q, %v", target, tt.names, got, err)
			}
		}
	}
	for target, names := range map[string][]string{
		"test-kernels": {"5.11", "uml/foo", "6", "", "all", "uml/bullseye"},
		"test-uml":     {"5.10", "uml/foo"},
	} {
		for _, name := range names {
			_, err := chooseKernels(target, []string{known[target][0], name})
			want := target + " has no kernel " + name + "; there are: " + strings.Join(known[target], ", ") + ";"
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The known kernels are those of fetch, and the suites of the others are those that the lab
// accepts and that its usage names.
func TestKnownKernels(t *testing.T) {
	fetch, lab, usage := contents(t, "fetch"), contents(t, "../lab/lib.sh"), contents(t, "../lab/run")
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^    ([0-9. |]+)\) echo `).FindAllStringSubmatch(fetch, -1) {
		want = append(want, strings.Split(m[1], " | ")...)
	}
	if got := known["test-kernels"]; !slices.Equal(got, want) {
		t.Errorf("fetch has %q, and known are %q", want, got)
	}
	list := regexp.MustCompile(`(?m)^kernel_sources=\((.*)\)$`).FindStringSubmatch(lab)
	if list == nil {
		t.Fatal("test/lab/lib.sh has no line kernel_sources=(...)")
	}
	want = nil
	for _, suite := range strings.Fields(list[1]) {
		want = append(want, "uml/"+suite)
		if !strings.Contains(usage, suite) {
			t.Errorf("the usage of test/lab/run does not name %s", suite)
		}
	}
	if got := known["test-uml"]; !slices.Equal(got, want) {
		t.Errorf("the lab has %q, and known are %q", want, got)
	}
}

// A signal stops the suites that are played, begins no other, and is told in a sentence.
func TestInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.MkdirAll("test/lab", 0o755))
	must(t, os.WriteFile("test/lab/run", []byte("#!/bin/sh\n"+
		"case $* in *first*) echo '--- PASS: TestOne (0s)'; exit;; esac\n"+
		"kill -INT $PPID; trap 'exit 1' TERM; while :; do sleep 0.01; done\n"), 0o755))
	must(t, os.MkdirAll(folder, 0o755))
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	var jobs []job
	for i, name := range []string{"first", "second", "third"} {
		jobs = append(jobs, job{kernel{name: "5.10"}, &suite{name: name, packages: []string{name}, weight: 3 - i}})
	}
	var said, ended []string
	begin := func(j job) { said = append(said, j.begins()) }
	stopped := run(ctx, 1, jobs, begin, func(r Result) {
		ended = append(ended, r.Suite)
		said = append(said, r.Suite+" has ended")
	})
	if want := []string{
		"5.10 first begins; its output is in out/kernels/5.10.first.log", "first has ended",
		"5.10 second begins; its output is in out/kernels/5.10.second.log",
	}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	if !slices.Equal(ended, []string{"first"}) || len(stopped) != 1 || stopped[0].suite.name != "second" {
		t.Errorf("%q ended, and %v were stopped", ended, stopped)
	}
	if logs, _ := filepath.Glob(folder + "/*third*"); len(logs) > 0 {
		t.Error("the third has begun")
	}
	err := interrupted(ctx, stopped, len(ended))
	if err == nil || strings.Contains(err.Error(), "context") || !strings.Contains(err.Error(), "no result: 5.10 second. Results of suites that have ended, 1 in this run, are kept") {
		t.Errorf("%v", err)
	}
	if err := interrupted(t.Context(), nil, 1); err != nil {
		t.Errorf("without a signal: %v", err)
	}
}

// Failed parts, of the chosen ones, are played again.
func TestScript(t *testing.T) {
	s := &suite{packages: []string{"ipset", "test/suite/life"}, run: "^TestFresh$/^nft$"}
	got := s.script("5.10", map[string][]string{"test/suite/life": {"TestFresh"}})
	if strings.Contains(got, "PACKAGE ipset") || !strings.Contains(got, "-test.run '^(TestFresh)$/^nft$'") {
		t.Errorf("%s", got)
	}
}

// The table in the document has a row for each kernel: that of this tree, if all suites were
// played there, and not before the row that is in the document; else the latter.
func TestWrite(t *testing.T) {
	table := tables["test-kernels"]
	path := filepath.Join(t.TempDir(), "kernels.md")
	begin, end := "<!-- generated by make test-kernels -->\n", "<!-- end of what make test-kernels generates -->\n"
	document := func(table string) string { return "before\n" + begin + "\n" + table + "\n" + end + "after\n" }
	write := func(all results, table string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(document(table)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := all.write(path, "test-kernels"); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	play := func(version, date string) (all results) {
		for _, s := range table.suites {
			all.put(Result{Kernel: "4.18", Version: version, Suite: s.name, Date: date, Passed: 1, Skipped: 2})
		}
		return all
	}
	old := head(table.suites)
	for _, k := range []string{"7", "6.12", "6.8", "6.1", "5.15", "5.10", "5.4", "4.18"} { // in another order, and with one more
		old += "| " + k + ".0-1 | 2026-01-02 | as it was in " + k + " |\n"
	}
	if text := write(nil, "old\n"); text != document("old\n") {
		t.Errorf("nothing has been played, and there is\n%s", text)
	}
	if text := write(play("4.18.0-25", "2026-01-03"), "old\n"); text != document("old\n") {
		t.Errorf("the table lacks rows, and is written:\n%s", text)
	}
	all := play("4.18.0-25", "2026-01-03")
	all.put(Result{Kernel: "4.18", Version: "4.18.0-25", Suite: "host", Date: "2026-01-04", Passed: 3, Again: 1})
	text := write(all, old)
	for _, want := range []string{
		"before\n" + begin + "\n| kernel |", ".\n\n" + end + "after\n", "\nTestMarkRules is not played on 4.18: ", "| 1 pass, 2 skip, without TestMarkRules |",
		"| 4.18.0-25 | 2026-01-03 | 3 pass (1 at the second try) | 1 pass, 2 skip |",
		"| 6.12.0-1 | 2026-01-02 | as it was in 6.12 |\n| 7.0-1 | 2026-01-02 | as it was in 7 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "6.8") {
		t.Errorf("a row is of no kernel of the table:\n%s", text)
	}
	for what, all := range map[string]results{
		"results from before the row": play("4.18.0-1", "2026-01-01"),
		"results without a suite":     play("4.18.0-2", "2026-01-03")[1:],
	} {
		if text := write(all, old); !strings.Contains(text, "as it was in 4.18") {
			t.Errorf("%s take its place:\n%s", what, text)
		}
	}
	all.put(Result{Kernel: "4.18", Version: "4.18.0-26", Suite: "host", Date: "2026-01-05"})
	if len(all) != 1 {
		t.Errorf("a newer version has results of an older one: %v", all)
	}
}

// Below a table, each skipped test has a line with its reason and its kernels; a row that is
// kept keeps its lines, and skipped tests without a name are not passed over in silence.
func TestSkipsAreNamed(t *testing.T) {
	play := func(kernel, version string, skips ...Skip) (all results) {
		for _, s := range tables["test-uml"].suites {
			all.put(Result{Kernel: kernel, Version: version, Suite: s.name, Date: "2026-01-03", Passed: 1})
		}
		all[0].Skips, all[0].Skipped = skips, len(skips)
		return all
	}
	refused := Skip{"test/suite/cluster", "TestBack/nftables", "mode nftables requires kernel 5.13 or later (not 5.10)"}
	all := slices.Concat(play("uml/bullseye", "5.10.223", refused, Skip{"test/suite/life", "TestFresh", ""}),
		play("uml/bookworm", "6.1.176", Skip{"test/suite/life", "TestFresh", ""}), play("uml/trixie", "6.12.117"))
	want := "Skipped, and on which kernels:\n\n" +
		"- TestBack/nftables of test/suite/cluster: mode nftables requires kernel 5.13 or later (not 5.10) (5.10)\n" +
		"- TestFresh of test/suite/life: the test gives no reason (5.10, 6.1)\n"
	path := writeTable(t, "test-uml", all, "old\n")
	if text := contents(t, path); !strings.Contains(text, "\n\n"+want+"\n<!-- end") {
		t.Errorf("the list is not\n%s\nin\n%s", want, text)
	}
	all = play("uml/bookworm", "6.1.177")
	all[1].Skipped = 2 // as in results of earlier versions
	if err := all.write(path, "test-uml"); err != nil {
		t.Fatal(err)
	}
	text := contents(t, path)
	for _, want := range []string{"(not 5.10) (5.10)\n", "no reason (5.10)\n", "\nNot all skipped tests of 6.1 have a name here: "} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}

// The list of skipped tests is bounded, and so is a test's message.
func TestSkipsAreBounded(t *testing.T) {
	l := skipList{}
	for i := range maxSkips + 2 {
		l.add("5.10", []Skip{{"ipset", fmt.Sprintf("Test%03d", i), ""}})
	}
	if got := l.markdown(nil); strings.Count(got, "\n- ") != maxSkips+1 || !strings.Contains(got, "\n- and 2 more\n") {
		t.Errorf("%s", got)
	}
	out := read("=== PACKAGE ipset\n=== RUN   TestOne\n    a_test.go:1: " + strings.Repeat("é", 500) + "\n--- SKIP: TestOne (0.00s)\n=== ENDED 0\n")
	if got := []rune(out.skips[0].Why); len(got) != maxWhy {
		t.Errorf("%d characters of a message", len(got))
	}
}

// Results of earlier versions are read, and have no names.
func TestEarlierResults(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.MkdirAll(folder, 0o755))
	must(t, os.WriteFile(file, []byte(`[{"Kernel": "6.1", "Suite": "wire", "Skipped": 3, "Failed": null, "Limits": null}]`), 0o600))
	got, err := load()
	if err != nil || len(got) != 1 || got[0].Skipped != 3 || got[0].Skips != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// The date of a row is the oldest of its cells.
func TestDateOfARow(t *testing.T) {
	var all results
	for i, s := range suites {
		all.put(Result{Kernel: "4.18", Version: "4.18.0-25", Suite: s.name, Date: fmt.Sprintf("2026-01-%02d", 12-i)})
	}
	all.put(Result{Kernel: "4.18", Version: "4.18.0-25", Suite: "host", Date: "2026-01-20"})
	if got, want := dateOf(all.row("4.18", suites)), fmt.Sprintf("2026-01-%02d", 13-len(suites)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The suites that are no columns have a table of the kernels on which they were played, each
// cell with its date.
func TestMoreSuites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernels.md")
	begin, end := "<!-- generated by make "+moreName+" -->\n", "<!-- end of what make "+moreName+" generates -->\n"
	must(t, os.WriteFile(path, []byte(begin+"\n"+end), 0o600))
	head, note := headOf("| kernel |", more), "\n"+meaning(more)+"\n"
	for _, tt := range []struct {
		played Result
		want   string
	}{
		{Result{Kernel: "6.12", Suite: "wire", Version: "6.12.1", Date: "2026-01-02", Passed: 8}, ""},
		{Result{Kernel: "6.12", Suite: "nft-alone", Version: "6.12.1", Date: "2026-01-02", Passed: 1},
			"| 6.12.1 | 1 pass, 2026-01-02 | not played | not played |\n"},
		{Result{Kernel: "6.12", Suite: "ipv4-alone", Version: "6.12.1", Date: "2026-01-03", Failed: []string{"TestWithout"}},
			"| 6.12.1 | 1 pass, 2026-01-02 | not played | 0 pass, **fail**: TestWithout, 2026-01-03 |\n"},
		{Result{Kernel: "6.12", Suite: "nft-alone", Version: "6.12.1", Date: "2026-01-01", Passed: 7},
			"| 6.12.1 | 1 pass, 2026-01-02 | not played | 0 pass, **fail**: TestWithout, 2026-01-03 |\n"},
		{Result{Kernel: "6.12", Suite: "legacy-alone", Version: "6.12.2", Date: "2026-01-04", Passed: 1},
			"| 6.12.2 | not played | 1 pass, 2026-01-04 | not played |\n"},
		{Result{Kernel: "6.12", Suite: "nft-alone", Version: "6.12.1", Date: "2026-01-03", Passed: 7},
			"| 6.12.2 | not played | 1 pass, 2026-01-04 | not played |\n"},
		{Result{Kernel: "5.10", Suite: "legacy-alone", Version: "5.10.0-3", Date: "2026-01-05", Passed: 1},
			"| 5.10.0-3 | not played | 1 pass, 2026-01-05 | not played |\n| 6.12.2 | not played | 1 pass, 2026-01-04 | not played |\n"},
	} {
		must(t, results{tt.played}.writeMore(path))
		if got, want := contents(t, path), begin+"\n"+head+tt.want+note+end; got != want {
			t.Errorf("after %+v:\n%s\nwant\n%s", tt.played, got, want)
		}
	}
}

// writeTable writes results into a document with that text for the table of a target, and
// returns its path.
func writeTable(t *testing.T, target string, all results, old string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kernels.md")
	begin, end := "<!-- generated by make "+target+" -->\n", "<!-- end of what make "+target+" generates -->\n"
	must(t, os.WriteFile(path, []byte("before\n"+begin+"\n"+old+"\n"+end+"after\n"), 0o600))
	must(t, all.write(path, target))
	return path
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
