package main

import "slices"

// limit is a test that fails on kernels by what they lack.
type limit struct {
	kernels []string
	test    string
	because string
}

var limits = []limit{}

// limited tells apart what is a limit of a kernel, and why, and what has failed.
func limited(kernel string, tests []string) (reasons, failed []string) {
	for _, test := range tests {
		i := slices.IndexFunc(limits, func(l limit) bool { return l.test == test && slices.Contains(l.kernels, kernel) })
		switch {
		case i < 0:
			failed = append(failed, test)
		case !slices.Contains(reasons, limits[i].because):
			reasons = append(reasons, limits[i].because)
		}
	}
	return reasons, failed
}
