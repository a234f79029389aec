package main

import "strings"

// limit is a test that is not played on a kernel, since the kernel does not survive it.
type limit struct {
	kernel, suite, test string
	because             string
}

var limits = []limit{
	{"4.18", "contract", "TestMarkRules", "the kernel stops where a network namespace with nftables ends (`nf_tables_chain_destroy`), as that test has many"},
}

// limitsOf returns the limits of a suite on a kernel.
func limitsOf(kernel, suite string) (out []limit) {
	for _, l := range limits {
		if l.kernel == kernel && l.suite == suite {
			out = append(out, l)
		}
	}
	return out
}

// skipped returns the regular expression for the tests of a suite that are not played on
// a kernel.
func (s *suite) skipped(kernel string) string {
	tests := strings.FieldsFunc(s.skip, func(r rune) bool { return r == '|' })
	for _, l := range limitsOf(kernel, s.name) {
		tests = append(tests, "^"+l.test+"$")
	}
	return strings.Join(tests, "|")
}
