package model

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Trouble sums up the Problems of an object that have the same reason, and whose fields differ
// only in the numbers of list elements.
type Trouble struct {
	Kind, Namespace, Name string // Namespace is empty for a Node
	UID                   string // empty if unknown
	Cause                 string // the field without those numbers, such as spec.ports[].port; empty: the whole object
	First                 Problem
	Count                 int // Problems
}

// Troubles sums Problems up by object, cause and reason, sorted by namespace, kind and name of the
// objects. It leaves out Problems without an object. If there are more than most, it keeps the
// first one of each namespace before the second one of any, so that no tenant crowds out
// others. omitted counts the Troubles that it does not keep.
func Troubles(most int, problems ...[]Problem) (all []Trouble, omitted int) {
	type about struct{ object, uid, cause, reason string }
	at := map[about]int{}
	for _, some := range problems {
		for _, p := range some {
			kind, namespace, name, ok := objectOf(p.Object)
			if !ok {
				continue
			}
			key := about{p.Object, p.UID, element.ReplaceAllLiteralString(p.Field, "[]"), p.Reason}
			i, known := at[key]
			if !known {
				i = len(all)
				at[key] = i
				all = append(all, Trouble{Kind: kind, Namespace: namespace, Name: name, UID: p.UID, Cause: key.cause, First: p})
			}
			all[i].Count++
		}
	}
	slices.SortFunc(all, compareTroubles)
	if len(all) <= most {
		return all, 0
	}
	return fair(all, most), len(all) - most
}

// element matches the number of a list element in a field.
var element = regexp.MustCompile(`\[[0-9]+\]`)

// objectOf parses Problem.Object.
func objectOf(text string) (kind, namespace, name string, ok bool) {
	kind, name, ok = strings.Cut(text, " ")
	if before, after, two := strings.Cut(name, "/"); two {
		namespace, name = before, after
	}
	return kind, namespace, name, ok && name != ""
}

func compareTroubles(a, b Trouble) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.UID, b.UID), cmp.Compare(a.First.Reason, b.First.Reason))
}

// fair returns n of a sorted list, taken from each namespace in turn.
func fair(all []Trouble, n int) []Trouble {
	turns, rank := map[string]int{}, make([]int, len(all))
	order := make([]int, len(all))
	for i := range all {
		order[i], rank[i] = i, turns[all[i].Namespace]
		turns[all[i].Namespace]++
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	out := make([]Trouble, 0, n)
	for _, i := range order[:n] {
		out = append(out, all[i])
	}
	slices.SortFunc(out, compareTroubles)
	return out
}
