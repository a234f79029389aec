package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Page is a file of the documentation, in Markdown.
type Page struct {
	Path string // from the root of the module
	Text string
}

// Pages returns the pages of docs/, those of the root such as README.md, and test/README.md.
func Pages(t testing.TB) []Page {
	t.Helper()
	files := []string{filepath.Join(Root(t), "test", "README.md")}
	for _, pattern := range []string{"docs/*.md", "*.md"} {
		more, err := filepath.Glob(filepath.Join(Root(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	var out []Page
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		path, err := filepath.Rel(Root(t), f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Page{filepath.ToSlash(path), string(data)})
	}
	return out
}

// Span matches inline code.
var Span = regexp.MustCompile("`([^`\n]+)`")

// Block calls each with every line of the page and whether it is code: fenced,
// or indented behind an empty line.
func (p Page) Block(each func(line string, code bool)) {
	fenced, indented, blank := false, false, true
	for line := range strings.Lines(p.Text) {
		line = strings.TrimRight(line, "\n")
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		indented = strings.HasPrefix(line, "    ") && (indented || blank)
		if !fence {
			each(line, fenced || indented)
		} else {
			fenced = !fenced
		}
		blank = strings.TrimSpace(line) == ""
	}
}

// Code returns the page's code: lines of blocks, and spans.
func (p Page) Code() (out []string) {
	p.Block(func(line string, code bool) {
		if code {
			out = append(out, strings.TrimSpace(line))
			return
		}
		for _, m := range Span.FindAllStringSubmatch(line, -1) {
			out = append(out, strings.ReplaceAll(m[1], `\|`, "|"))
		}
	})
	return out
}

// Prose returns the page without its code.
func (p Page) Prose() string {
	var b strings.Builder
	p.Block(func(line string, code bool) {
		if !code {
			b.WriteString(Span.ReplaceAllString(line, "") + "\n")
		}
	})
	return b.String()
}

// Anchors returns the names of links to headings of the page, as GitHub makes them.
func (p Page) Anchors() map[string]bool {
	out := map[string]bool{}
	p.Block(func(line string, code bool) {
		title := strings.TrimLeft(line, "#")
		if code || title == line || !strings.HasPrefix(title, " ") {
			return
		}
		out[anchor(title)] = true
	})
	return out
}

func anchor(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(title)) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}
