package model

import (
	"fmt"
	"strings"
	"testing"
)

func TestTroubles(t *testing.T) {
	var many []Problem
	for i := range 1000 {
		many = append(many, Problem{UID: "1", Object: "Service shop/web", Field: fmt.Sprintf("spec.externalIPs[%d]", i), Message: fmt.Sprint("no ", i)})
	}
	got, omitted := Troubles(100, []Problem{
		{UID: "2", Object: "Service shop/web", Field: "spec.externalIPs[0]", Message: "of another life"},
		{UID: "1", Object: "Service shop/web", Message: "a write fails"},
		{UID: "3", Object: "EndpointSlice dns/x", Field: "endpoints[3].addresses[0]", Message: "no"},
		{Object: "Node n1", Field: "spec.podCIDRs", Message: "none"},
		{Message: "of no object"}, {Object: "Service", Message: "without a name"},
	}, many)
	var lines []string
	for _, g := range got {
		lines = append(lines, fmt.Sprintf("%s|%s|%s|%s|%s|%d|%s", g.Namespace, g.Kind, g.Name, g.UID, g.Cause, g.Count, g.First.Message))
	}
	want := []string{
		"|Node|n1||spec.podCIDRs|1|none",
		"dns|EndpointSlice|x|3|endpoints[].addresses[]|1|no",
		"shop|Service|web|1||1|a write fails",
		"shop|Service|web|1|spec.externalIPs[]|1000|no 0",
		"shop|Service|web|2|spec.externalIPs[]|1|of another life",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") || omitted != 0 {
		t.Errorf("%d omitted, got\n%s\nwant\n%s", omitted, strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// A tenant with very many is not all that is told.
func TestTroublesAreFair(t *testing.T) {
	var all []Problem
	for i := range 500 {
		all = append(all, Problem{Object: fmt.Sprintf("Service a/s%03d", i)})
	}
	for i := range 3 {
		all = append(all, Problem{Object: fmt.Sprintf("Service b/s%d", i)})
	}
	all = append(all, Problem{Object: "Service c/s"})
	got, omitted := Troubles(10, all)
	of := map[string]int{}
	for _, g := range got {
		of[g.Namespace]++
	}
	if len(got) != 10 || omitted != 494 || of["a"] != 6 || of["b"] != 3 || of["c"] != 1 {
		t.Errorf("%d omitted, kept %v", omitted, of)
	}
}
