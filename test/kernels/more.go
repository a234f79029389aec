package main

import (
	"fmt"
	"regexp"
	"strings"
)

// moreName names the place of the table that has more, by the target that writes it.
const moreName = "test-kernels: suites by name"

// writeMore puts the table of the suites in more into its place in a document. It has a row
// for each kernel on which one of them was played. These suites are played one by one, so
// that each cell has its date; a cell that has no result in this tree stays as it is in the
// document, unless the row becomes one of another version, and so does a newer one.
func (all results) writeMore(path string) error {
	return rewrite(path, moreName, func(old string) string {
		body := headOf("| kernel |", more)
		for _, k := range tables["test-kernels"].kernels {
			body += all.moreRow(k, oldRow(old, headOf("| kernel |", more), k))
		}
		return body + "\n" + meaning(more)
	})
}

// moreRow is the row of a kernel, from the results and the row that is there; nothing if
// neither has any.
func (all results) moreRow(kernel, there string) string {
	was := strings.Split(strings.Trim(there, "| \n"), " | ")
	version, cells := was[0], make([]string, len(more))
	if len(was) == len(more)+1 {
		copy(cells, was[1:])
	}
	for i, s := range more {
		r, ok := all.find(kernel, s.name)
		same := r.Version == version
		if !ok || same && r.Date < lastDate(cells[i]) || !same && r.Date < newest(cells) {
			continue
		}
		if !same {
			version, cells = r.Version, make([]string, len(more))
		}
		cells[i] = r.cell() + ", " + r.Date
	}
	if version == "" {
		return ""
	}
	for i, c := range cells {
		if c == "" {
			cells[i] = "not played"
		}
	}
	return fmt.Sprintf("| %s | %s |\n", version, strings.Join(cells, " | "))
}

var day = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

// lastDate returns the date at the end of a cell.
func lastDate(cell string) string { return day.FindString(cell) }

// newest returns the latest of the cells' dates.
func newest(cells []string) (date string) {
	for _, c := range cells {
		date = max(date, lastDate(c))
	}
	return date
}
