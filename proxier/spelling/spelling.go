// Package spelling finds the names that a misspelt one may mean.
package spelling

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// most is how many names Nearest returns: more help less.
const most = 3

// shortest is the least number of bytes for which a beginning is taken for its name.
const shortest = 3

// Meant returns the question behind a message about an unknown word, such as
// " (is --manifests meant?)": each name stands behind prefix. It is empty if no name is near.
func Meant(word, prefix string, names iter.Seq[string]) string {
	return Question(prefix, Nearest(word, names))
}

// Question is Meant of names that are near.
func Question(prefix string, near []string) string {
	if len(near) == 0 {
		return ""
	}
	return " (is " + prefix + strings.Join(near, " or "+prefix) + " meant?)"
}

// Nearest returns the names that word may mean, the most similar first and at most three: the
// one that differs in capitals alone, or else those that differ in one letter, or one more for
// every six of word, and those that begin with it.
func Nearest(word string, names iter.Seq[string]) []string {
	type near struct {
		name string
		by   int
	}
	var found []near
	lower := strings.ToLower(word)
	for name := range names {
		by := distance(lower, strings.ToLower(name))
		begins := len(word) >= shortest && strings.HasPrefix(strings.ToLower(name), lower)
		if by <= 1+len(word)/6 || begins {
			found = append(found, near{name, by})
		}
	}
	slices.SortFunc(found, func(a, b near) int { return cmp.Or(cmp.Compare(a.by, b.by), cmp.Compare(a.name, b.name)) })
	found = slices.Compact(found)
	if len(found) > 0 && found[0].by == 0 {
		return []string{found[0].name}
	}
	var out []string
	for _, n := range found[:min(len(found), most)] {
		out = append(out, n.name)
	}
	return out
}

// distance returns the least number of bytes to add, drop, replace or swap with the next to make
// b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			differs := 1
			if a[i-1] == b[j-1] {
				differs = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
