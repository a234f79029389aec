// Package docs reads the documentation, and compares its generated parts with the code.
package docs

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated into docs/")

// Hold compares a generated part of a file in docs/ with want, and with -update writes
// it. In the file the part stands between two comments that name it; the text around
// it is written by hand.
func Hold(t testing.TB, file, part, want string) {
	t.Helper()
	path := filepath.Join(Root(t), "docs", file)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- generated: "+part+" -->\n", "<!-- end of "+part+" -->\n"
	before, rest, ok := strings.Cut(string(data), begin)
	have, after, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatalf("docs/%s has no part between %s and %s", file, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	want = "\n" + strings.TrimSpace(want) + "\n\n"
	if have == want {
		return
	}
	if !*update {
		t.Errorf("docs/%s: the part %q differs from the code; go test -run %s -update writes it. First difference:\n%s", file, part, t.Name(), firstDifference(have, want))
		return
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func firstDifference(have, want string) string {
	a, b := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			return "have " + a[i] + "\nwant " + b[i]
		}
	}
	return "one is longer than the other"
}

// Root returns the folder of the module: the one above the test's that has go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no folder above has a go.mod")
		}
	}
	t.Fatal(err)
	return ""
}

// Table returns a table, in Markdown.
func Table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
	}
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range rows {
		line(r)
	}
	return b.String()
}
