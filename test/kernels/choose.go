package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// known are the names of the kernels that each target can play: packages, which fetch gets,
// and sources, of which the lab builds a User-Mode Linux.
var known = map[string][]string{
	"test-kernels": {"4.15", "4.18", "5.4", "5.10", "5.15", "6.1", "6.12", "7"},
	"test-uml":     {"uml/bullseye", "uml/bookworm", "uml/trixie", "uml/trixie-backports", "uml/jammy-updates/5.15", "uml/bionic-updates/4.18"},
}

// chooseKernels returns the kernels of these names: the usual ones of the target's table
// without any, and those of all its rows for `all`. Names that the target does not know are
// refused.
func chooseKernels(target string, names []string) ([]string, error) {
	switch {
	case len(names) == 0:
		return tables[target].usual, nil
	case slices.Equal(names, []string{"all"}):
		return tables[target].kernels, nil
	}
	for _, name := range names {
		if !slices.Contains(known[target], name) {
			return nil, fmt.Errorf("%s has no kernel %s; there are: %s; and all, alone, for those of the table",
				target, name, strings.Join(known[target], ", "))
		}
	}
	return names, nil
}

// chooseSuites returns the suites of these names, which are the name of one of the target's
// suites or a package's folder; those of the table without any. Unknown names are refused.
func chooseSuites(target string, names []string) ([]*suite, error) {
	if len(names) == 0 {
		return tables[target].suites, nil
	}
	named := namedSuites(target)
	var out []*suite
	for _, name := range names {
		if i := slices.IndexFunc(named, func(s *suite) bool { return s.name == name }); i >= 0 {
			out = append(out, named[i])
		} else if tests, _ := filepath.Glob(filepath.Join(name, "*_test.go")); len(tests) > 0 {
			out = append(out, whole(name)...)
		} else {
			return nil, fmt.Errorf("%s has no suite %s; there are: %s; and the folder of each package with tests",
				target, name, namesOf(named))
		}
	}
	return out, nil
}

// namedSuites returns the suites that a target plays by name.
func namedSuites(target string) []*suite {
	if target == "test-kernels" {
		return slices.Concat(suites, more)
	}
	return tables[target].suites
}

// namesOf lists suites in a sentence.
func namesOf(suites []*suite) string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}
