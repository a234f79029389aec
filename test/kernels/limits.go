package main

import (
	"slices"
	"strings"
)

// limit is a test that is not played on a kernel, which does not stand it.
type limit struct {
	kernel, suite, test string
	because             string
}

var limits = []limit{
	{"4.18", "contract", "TestMarkRules", "the kernel stops where a network namespace with nftables ends (`nf_tables_chain_destroy`), as that test has many"},
}

// limited returns the regular expression of the tests that a suite skips on a kernel,
// and the reason.
func (s *suite) limited(kernel string) (skip string, reasons []string) {
	tests := strings.FieldsFunc(s.skip, func(r rune) bool { return r == '|' })
	for _, l := range limits {
		if l.kernel != kernel || l.suite != s.name {
			continue
		}
		tests = append(tests, "^"+l.test+"$")
		if !slices.Contains(reasons, l.because) {
			reasons = append(reasons, l.because)
		}
	}
	return strings.Join(tests, "|"), reasons
}

// reasonsOf returns why some tests of these suites are not played on some kernel.
func reasonsOf(suites []*suite) (out []string) {
	for _, l := range limits {
		if slices.ContainsFunc(suites, func(s *suite) bool { return s.name == l.suite }) && !slices.Contains(out, l.because) {
			out = append(out, l.because)
		}
	}
	return out
}
