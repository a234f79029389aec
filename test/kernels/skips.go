package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Skip is a test, or a part of one, that was skipped.
type Skip struct {
	Package, Test string
	Why           string // the first line of the test's message, or nothing
}

// maxWhy and maxSkips bound the list of skipped tests below a table.
const (
	maxWhy   = 160 // characters
	maxSkips = 60  // lines
)

// String returns the skip as the list below a table has it.
func (s Skip) String() string {
	return fmt.Sprintf("%s of %s: %s", s.Test, s.Package, cmp.Or(s.Why, "the test gives no reason"))
}

// speech is a line that names the test of the messages after it, or the first line of a
// message.
var speech = regexp.MustCompile(`(?m)^(?:=== PACKAGE +(\S+)$|(?:=== [A-Z]+ +|--- [A-Z]+: )(\S+)|    \S+\.go:[0-9]+: (.+)$)`)

// messages returns the first line of the last message of each test, by the skip without
// reason that the test would be.
func messages(said string) map[Skip]string {
	out := map[Skip]string{}
	var speaker Skip
	for _, m := range speech.FindAllStringSubmatch(said, -1) {
		switch {
		case m[1] != "":
			speaker = Skip{Package: m[1]}
		case m[2] != "":
			speaker.Test = m[2]
		default:
			text := []rune(m[3])
			if len(text) > maxWhy {
				text = append(text[:maxWhy-1], '…')
			}
			out[speaker] = string(text)
		}
	}
	return out
}

// skipList maps a line of the list below a table to the kernels on which it is true.
type skipList map[string][]string

var (
	number    = regexp.MustCompile(`^[0-9]+\.[0-9]+`)
	skipLine  = regexp.MustCompile(`(?m)^- (\S+ of \S+: .*) \(([0-9., ]+)\)$`)
	skipCount = regexp.MustCompile(`, ([0-9]+) skip\b`)
)

// numberOf returns the first two numbers of the version in a row, such as 5.10.
func numberOf(row string) string {
	return number.FindString(strings.TrimPrefix(row, "| "))
}

// add puts in the tests that were skipped on a kernel.
func (l skipList) add(kernel string, skips []Skip) {
	for _, s := range skips {
		if line := s.String(); !slices.Contains(l[line], kernel) {
			l[line] = append(l[line], kernel)
		}
	}
}

// keep puts in what an earlier list says of a kernel.
func (l skipList) keep(kernel, old string) {
	for _, m := range skipLine.FindAllStringSubmatch(old, -1) {
		if slices.Contains(strings.Split(m[2], ", "), kernel) {
			l[m[1]] = append(l[m[1]], kernel)
		}
	}
}

// markdown returns the sorted list, at most maxSkips lines of it, and names the kernels in
// whose rows more tests were skipped than it has: their results are older than the list.
func (l skipList) markdown(rows []string) (out string) {
	lines := make([]string, 0, len(l))
	names := map[string]int{}
	for line, kernels := range l {
		lines = append(lines, fmt.Sprintf("- %s (%s)\n", line, strings.Join(kernels, ", ")))
		for _, k := range kernels {
			names[k]++
		}
	}
	slices.Sort(lines)
	if len(lines) > maxSkips {
		lines = append(lines[:maxSkips], fmt.Sprintf("- and %d more\n", len(lines)-maxSkips))
	}
	var unnamed []string
	for _, row := range rows {
		if k := numberOf(row); skippedIn(row) > names[k] {
			unnamed = append(unnamed, k)
		}
	}
	if len(lines) > 0 {
		out = "Skipped, and on which kernels:\n\n" + strings.Join(lines, "") + "\n"
	}
	if len(unnamed) > 0 {
		out += "Not all skipped tests of " + strings.Join(unnamed, ", ") + " have a name here: the results are from before names were kept.\n\n"
	}
	return out
}

// skippedIn returns how many tests a row says were skipped.
func skippedIn(row string) (n int) {
	for _, m := range skipCount.FindAllStringSubmatch(row, -1) {
		more, _ := strconv.Atoi(m[1])
		n += more
	}
	return n
}
