package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"
)

var (
	logged = regexp.MustCompile(`msg=(?:"([^"]+)"|(\w+))`)
	joined = regexp.MustCompile(`" \+\s*"`)
	// told are tables of docs/operations.md whose first column quotes the program, by
	// the beginnings of their heads.
	told = []string{"| note of `state` |", "| reason |", "| message |"}
)

// sources returns the text of the program's source, with long strings joined.
func sources(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{"cmd", "proxier", "netutil", "ipset"} {
		err := filepath.WalkDir(filepath.Join(docs.Root(t), dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			b.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(joined.ReplaceAllString(b.String(), ""), `\"`, `"`)
}

// The program can say every line of the log and every reason that the text quotes.
// Three dots stand for variable parts.
func TestMessages(t *testing.T) {
	source := sources(t)
	n := 0
	quoted := func(p docs.Page, text string) {
		for part := range strings.SplitSeq(text, "...") {
			part = strings.Trim(part, ` ";:,()`)
			const few = 6 // bytes that could be anywhere
			if len(part) < few {
				continue
			}
			n++
			if !strings.Contains(source, part) {
				t.Errorf("%s: nothing says %q", p.Path, part)
			}
		}
	}
	for _, p := range docs.Pages(t) {
		for _, m := range logged.FindAllStringSubmatch(p.Text, -1) {
			quoted(p, m[1]+m[2])
		}
		if p.Path != "docs/operations.md" {
			continue
		}
		inTable := false
		for line := range strings.Lines(p.Text) {
			switch {
			case !strings.HasPrefix(line, "|"):
				inTable = false
			case inTable:
				first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), " | ")
				for _, m := range docs.Span.FindAllStringSubmatch(first, -1) {
					if !strings.HasPrefix(m[1], "msg=") {
						quoted(p, m[1])
					}
				}
			default:
				for _, head := range told {
					inTable = inTable || strings.HasPrefix(line, head)
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("%d texts were found, and there are more", n)
	}
}
