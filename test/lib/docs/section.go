package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Section is the text below a heading of a file in docs/, up to the next one.
type Section struct {
	Heading  string
	Commands []string // of blocks of code; lines that go on are one
}

// Commands returns the commands below a heading of a file, which must have some.
func Commands(t testing.TB, file, heading string) []string {
	t.Helper()
	for _, s := range Sections(t, file) {
		if s.Heading == heading {
			return s.Commands
		}
	}
	t.Fatalf("docs/%s has no commands below %q", file, heading)
	return nil
}

// Sections returns those of a file that have blocks of code.
func Sections(t testing.TB, file string) []Section {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(Root(t), "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []Section
	open := false // the last line goes on
	now := Section{}
	end := func() {
		if len(now.Commands) > 0 {
			out = append(out, now)
		}
	}
	Page{Text: string(data)}.Block(func(line string, code bool) {
		switch text := strings.TrimSpace(line); {
		case !code && strings.HasPrefix(line, "#"):
			end()
			now = Section{Heading: strings.TrimLeft(line, "# ")}
		case !code || text == "":
			open = false
		case open:
			now.Commands[len(now.Commands)-1] += "\n" + text
			open = strings.HasSuffix(text, `\`)
		default:
			now.Commands = append(now.Commands, text)
			open = strings.HasSuffix(text, `\`)
		}
	})
	end()
	return out
}
