package main

import (
	"fmt"
	"io"
	"strings"
)

// writeNotes writes what a changelog in the form of https://keepachangelog.com says of a
// version, without the heading. For a snapshot that is what is not released yet, which may be
// nothing.
func writeNotes(out io.Writer, changelog io.Reader, v version) error {
	text, err := io.ReadAll(changelog)
	if err != nil {
		return err
	}
	notes, found := section(string(text), string(v))
	if v.snapshot() {
		notes, _ = section(string(text), "Unreleased")
		notes = strings.TrimSpace("A snapshot, for tests.\n\n" + notes)
	} else if !found {
		return fmt.Errorf("the changelog has no section \"## [%s] - YYYY-MM-DD\"", v)
	} else if notes == "" {
		return fmt.Errorf("the changelog says nothing of %s", v)
	}
	_, err = fmt.Fprintln(out, notes)
	return err
}

// section returns the text below the heading of the second level that has a name in brackets.
func section(text, name string) (body string, found bool) {
	var lines []string
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "## "):
			if found {
				return strings.TrimSpace(strings.Join(lines, "")), true
			}
			found = strings.HasPrefix(line, "## ["+name+"]")
		case found && !isLink(line):
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, "")), found
}

// isLink reports whether the line defines a link, as the last lines of a changelog do.
func isLink(line string) bool {
	return strings.HasPrefix(line, "[") && strings.Contains(line, "]: ")
}
