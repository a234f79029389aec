package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// known are the names of all kernels: of packages, which fetch gets, and of sources, of
// which the lab builds a User-Mode Linux.
var known = []string{
	"4.15", "4.18", "5.4", "5.10", "5.15", "6.1", "6.12", "7",
	"uml/bullseye", "uml/bookworm", "uml/trixie", "uml/trixie-backports", "uml/jammy-updates/5.15", "uml/bionic-updates/4.18",
}

// chooseKernels returns the kernels of these names: the usual ones of the table without
// any, and those of all its rows for `all`. Unknown names are refused.
func chooseKernels(t table, names []string) ([]string, error) {
	switch {
	case len(names) == 0:
		return t.usual, nil
	case slices.Equal(names, []string{"all"}):
		return t.kernels, nil
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no kernel %s; there are: %s; and all, alone, for those of the table", name, strings.Join(known, ", "))
		}
	}
	return names, nil
}

// chooseSuites returns the suites of these names, which are the name of a suite or a
// package's folder; those of the table without any. Unknown names are refused.
func chooseSuites(t table, names []string) ([]*suite, error) {
	if len(names) == 0 {
		return t.suites, nil
	}
	var out []*suite
	for _, name := range names {
		named := slices.Concat(suites, more)
		if i := slices.IndexFunc(named, func(s *suite) bool { return s.name == name }); i >= 0 {
			out = append(out, named[i])
		} else if tests, _ := filepath.Glob(filepath.Join(name, "*_test.go")); len(tests) > 0 {
			out = append(out, whole(name)...)
		} else {
			return nil, fmt.Errorf("there is no suite %s; there are: %s; and the folder of each package with tests", name, namesOf(named))
		}
	}
	return out, nil
}

// namesOf lists suites in a sentence.
func namesOf(suites []*suite) string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}
