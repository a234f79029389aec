package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"kube-ipvs/test/lib/testbed"
)

// width is how wide a terminal must be: for the 96 columns of kube-ipvs explain, in a quotation.
const width = 102

const indent = "    "

// page prints the story.
type page struct {
	out    io.Writer
	colour bool
	last   block
}

// block is a kind of text. Between two kinds there is a blank line.
type block int

const (
	none block = iota // a heading
	prose
	commands
	quotation
	tabular
	claims
)

func (p *page) begin(b block) {
	if p.last != none && p.last != b {
		fmt.Fprintln(p.out)
	}
	p.last = b
}

func newPage(out io.Writer, colour string) (*page, error) {
	p := &page{out: out}
	switch colour {
	case "auto":
		if f, ok := out.(*os.File); ok {
			_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
			p.colour = err == nil
		}
	case "always":
		p.colour = true
	case "never":
	default:
		return nil, fmt.Errorf("--color: %q is neither auto nor always nor never", colour)
	}
	return p, nil
}

// Colours, as terminals number them.
const (
	bold  = "1"
	red   = "1;31"
	green = "32"
	faint = "2"
)

func (p *page) paint(code, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// heading prints the title of a step; 0 is the part before the steps.
func (p *page) heading(number int, title string) {
	if number > 0 {
		title = fmt.Sprintf("%d. %s", number, title)
	}
	line := "── " + title + " "
	line += strings.Repeat("─", max(0, width-4-len([]rune(line))))
	fmt.Fprintf(p.out, "\n%s\n\n", p.paint(bold, line))
	p.last = none
}

// say prints text, line by line as it is given.
func (p *page) say(format string, args ...any) {
	p.begin(prose)
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintln(p.out, cut(strings.TrimRight(indent+line, " \n")))
	}
}

// command prints a command line and its output.
func (p *page) command(line string, out []string) {
	p.begin(commands)
	fmt.Fprintln(p.out, cut(indent+"$ "+line))
	if len(out) > 0 {
		p.last = quotation
		p.quote(out)
	}
}

// quote prints lines of another program.
func (p *page) quote(lines []string) {
	p.begin(quotation)
	for _, line := range lines {
		fmt.Fprintln(p.out, p.paint(faint, cut(indent+"│ "+strings.TrimRight(line, " "))))
	}
}

// cut shortens a line to the width of the page.
func cut(line string) string {
	if r := []rune(line); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return line
}

// table prints rows in columns; the first row is their heading.
func (p *page) table(rows [][]string) {
	p.begin(tabular)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
	first := true
	for line := range strings.Lines(b.String()) {
		line = cut(indent + strings.TrimRight(line, " \n"))
		if first {
			line = p.paint(faint, line)
		}
		first = false
		fmt.Fprintln(p.out, line)
	}
}

// ok prints a claim that was found true.
func (p *page) ok(format string, args ...any) {
	p.begin(claims)
	fmt.Fprintf(p.out, "%s %s\n", p.paint(green, "ok "), fmt.Sprintf(format, args...))
}

// falsehood is a claim that was found false.
type falsehood struct{ claim, want, seen string }

func (f *falsehood) Error() string {
	return fmt.Sprintf("%s: expected %s, saw %s", f.claim, f.want, f.seen)
}

// claim prints the claim if it is true and returns the falsehood if not.
func (p *page) claim(claim string, holds bool, want, seen string) error {
	if !holds {
		return &falsehood{claim, want, seen}
	}
	p.ok("%s", claim)
	return nil
}

func (p *page) failed(step int, err error) {
	where := "FALSE without IPVS"
	if step > 0 {
		where = fmt.Sprintf("FALSE in step %d", step)
	}
	fmt.Fprintf(p.out, "\n%s\n", p.paint(red, where))
	f, ok := errors.AsType[*falsehood](err)
	if !ok {
		p.say("%v", err)
		return
	}
	fmt.Fprintf(p.out, "%sclaimed:  %s\n%sexpected: %s\n%sseen:     %s\n", indent, f.claim, indent, f.want, indent, f.seen)
}

// logs prints all that kube-ipvs has logged, uncut.
func (p *page) logs(daemons []*testbed.Daemon) {
	for _, d := range daemons {
		fmt.Fprintf(p.out, "\nkube-ipvs said:\n%s", d.Log())
	}
}

func (p *page) end(text string) { fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, text)) }
