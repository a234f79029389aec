package arch

import (
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// A reader of the loop begins with any file and ends at the first: none refers to one that
// refers back to it, however indirectly.
func TestFilesOfTheLoopHaveAnOrder(t *testing.T) {
	all := packagesBelow(t, "proxier")
	loop := all[slices.IndexFunc(all, func(p listed) bool { return p.path == "kube-ipvs/proxier" })]
	refers := references(t, loop)
	left := slices.Clone(loop.files)
	for len(left) > 0 {
		free := slices.IndexFunc(left, func(file string) bool { // an end of what is left
			return !slices.ContainsFunc(left, func(o string) bool { return o != file && refers[file][o] != "" }) ||
				!slices.ContainsFunc(left, func(o string) bool { return o != file && refers[o][file] != "" })
		})
		if free < 0 {
			break
		}
		left = slices.Delete(left, free, free+1)
	}
	for _, from := range left {
		for _, to := range left {
			if what := refers[from][to]; from != to && what != "" {
				t.Errorf("%s refers to %s of %s, which is in a circle with it", from, what, to)
			}
		}
	}
}

// references returns, for each file of a package and each other one, something that the first
// uses and the other declares.
func references(t *testing.T, p listed) map[string]map[string]string {
	t.Helper()
	c := typesOf(t, p)
	fileOf := func(at token.Pos) string { return filepath.Base(c.set.Position(at).Filename) }
	out := map[string]map[string]string{}
	for id, object := range c.uses {
		if object.Pkg() != c.of {
			continue
		}
		from, to := fileOf(id.Pos()), fileOf(object.Pos())
		if out[from] == nil {
			out[from] = map[string]string{}
		}
		if from != to {
			out[from][to] = object.Name()
		}
	}
	return out
}
