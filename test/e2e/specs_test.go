package e2e

import (
	"maps"
	"strings"
	"testing"
)

// Of a report only specs that were run, or gave a reason not to, are results.
func TestReadJUnit(t *testing.T) {
	const report = `<testsuites><testsuite>
<testcase name="[SynchronizedBeforeSuite]" time="3"/>
<testcase name="[It] good" time="1.6" status="passed"/>
<testcase name="[It] bad" time="2" status="failed"><failure message="no answer">at line 5</failure></testcase>
<testcase name="[It] torn" time="2" status="interrupted"><error message="interrupted"/></testcase>
<testcase name="[It] elsewhere" status="skipped"><skipped message="skipped"/></testcase>
<testcase name="[It] unable" status="skipped"><skipped message="skipped - needs a cloud"/></testcase>
</testsuite></testsuites>`
	want := map[string]Result{
		"good":   {Result: "passed", Seconds: 2},
		"bad":    {Result: "failed", Seconds: 2, Message: "no answer\nat line 5"},
		"torn":   {Result: "failed", Seconds: 2, Message: "interrupted"},
		"unable": {Result: "skipped", Message: "needs a cloud"},
	}
	got := map[string]Result{}
	if err := readJUnit(strings.NewReader(report), got); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

// A failed spec is asked for by its whole name, and counts as it ends the second time.
func TestAgain(t *testing.T) {
	results := map[string]Result{
		"good":       {Result: "passed", Seconds: 1},
		"torn (tcp)": {Result: "failed", Seconds: 2, Message: "no answer"},
		"bad":        {Result: "failed", Seconds: 3, Message: "no answer"},
		"unable":     {Result: "skipped", Message: "needs a cloud"},
	}
	if got, want := exactly(results), `bad$|torn \(tcp\)$`; got != want {
		t.Errorf("%s is played again, want %s", got, want)
	}
	if got := exactly(map[string]Result{"good": {Result: "passed"}}); got != "" {
		t.Errorf("%s is played again, want nothing", got)
	}
	merge(results, map[string]Result{
		"torn (tcp)": {Result: "passed", Seconds: 4},
		"bad":        {Result: "failed", Seconds: 5, Message: "wrong answer"},
		"more":       {Result: "passed"},
	})
	want := map[string]Result{
		"good":       {Result: "passed", Seconds: 1},
		"torn (tcp)": {Result: "flake", Seconds: 2, Message: "no answer"},
		"bad":        {Result: "failed", Seconds: 5, Message: "wrong answer"},
		"unable":     {Result: "skipped", Message: "needs a cloud"},
	}
	if !maps.Equal(results, want) {
		t.Errorf("%v, want %v", results, want)
	}
}
