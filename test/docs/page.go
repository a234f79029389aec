package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page is a file of the documentation, in Markdown.
type page struct {
	path string // from the root of the module
	text string
}

// pages are the README and the pages of docs/.
func pages(t *testing.T) []page {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(Root(t), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []page
	for _, f := range append(files, filepath.Join(Root(t), "README.md")) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		path, err := filepath.Rel(Root(t), f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page{filepath.ToSlash(path), string(data)})
	}
	return out
}

// generated are pages that a command writes and that need not be there.
var generated = map[string]bool{"docs/comparison.md": true, "docs/performance.md": true}

// span is inline code.
var span = regexp.MustCompile("`([^`\n]+)`")

// block calls each with every line of the page and whether it is code: fenced,
// or indented behind an empty line.
func (p page) block(each func(line string, code bool)) {
	fenced, indented, blank := false, false, true
	for line := range strings.Lines(p.text) {
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

// code returns the page's code: lines of blocks, and spans.
func (p page) code() (out []string) {
	p.block(func(line string, code bool) {
		if code {
			out = append(out, strings.TrimSpace(line))
			return
		}
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			out = append(out, strings.ReplaceAll(m[1], `\|`, "|"))
		}
	})
	return out
}

// prose returns the page without its code.
func (p page) prose() string {
	var b strings.Builder
	p.block(func(line string, code bool) {
		if !code {
			b.WriteString(span.ReplaceAllString(line, "") + "\n")
		}
	})
	return b.String()
}

// anchors are the names of links to headings of the page, as GitHub makes them.
func (p page) anchors() map[string]bool {
	out := map[string]bool{}
	p.block(func(line string, code bool) {
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
