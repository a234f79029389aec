package arch

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section returns what docs/architecture.md has below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/architecture.md has no section %q", heading)
	}
	below, _, _ = strings.Cut(below, "\n## ")
	return below
}

var quoted = regexp.MustCompile("`([^`]+)`")

// The table of floors is that of the code.
func TestFloors(t *testing.T) {
	imports := map[string][]string{}
	for _, top := range []string{"cmd", "proxier", "netutil", "ipset"} {
		for _, line := range list(t, `{{$p := .ImportPath}}{{$p}}{{range .Imports}},{{.}}{{end}}`, top+"/...") {
			words := strings.Split(line, ",")
			imports[words[0]] = words[1:]
		}
	}
	var floors [][]string
	known := map[string]int{}
	var floor func(string) int
	floor = func(pkg string) int {
		at, ok := known[pkg]
		if ok {
			return at
		}
		for _, to := range imports[pkg] {
			if _, ours := imports[to]; ours {
				at = max(at, floor(to)+1)
			}
		}
		known[pkg] = at
		for len(floors) <= at {
			floors = append(floors, nil)
		}
		floors[at] = append(floors[at], "`"+strings.TrimPrefix(pkg, "kube-ipvs/")+"`")
		return at
	}
	for pkg := range imports {
		floor(pkg)
	}
	table := section(t, "Packages, by floor")
	for at, packages := range floors {
		slices.Sort(packages)
		if row := fmt.Sprintf("| %d | %s |\n", at, strings.Join(packages, " ")); !strings.Contains(table, row) {
			t.Errorf("docs/architecture.md lacks the row\n%s", row)
		}
	}
}

// Each file and folder that the map for newcomers names is there.
func TestMapLeadsToFiles(t *testing.T) {
	paths := 0
	for _, m := range quoted.FindAllStringSubmatch(section(t, "Where to look"), -1) {
		if !strings.Contains(m[1], "/") {
			continue
		}
		paths++
		if _, err := os.Stat("../../../" + m[1]); err != nil {
			t.Errorf("docs/architecture.md leads to %s: %v", m[1], err)
		}
	}
	if paths < 15 {
		t.Errorf("the map names %d files", paths)
	}
}
