package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"
)

var (
	testNamed = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)(?:/([a-z0-9-]+))?`")
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	// noTest stands in the place of a test, with the reason.
	noTest = regexp.MustCompile(`\(no test: [^)]{8,}\)`)
)

// claims returns the paragraphs, list items, and rows of tables of a page, from its first section on.
func claims(p docs.Page) (all []string) {
	begun, heads, last := false, 0, ""
	p.Block(func(line string, code bool) {
		text := strings.TrimSpace(line)
		begins := last == "" || strings.HasPrefix(text, "- ") || strings.HasPrefix(text, "|")
		last = text
		switch {
		case strings.HasPrefix(line, "## "):
			begun, last = true, ""
		case !begun || code || text == "":
			last = ""
		case strings.HasPrefix(text, "|") && heads < 2: // the head, and the line below it
			heads++
		case begins:
			all = append(all, text)
		default:
			all[len(all)-1] += " " + text
		}
		if !strings.HasPrefix(text, "|") {
			heads = 0
		}
	})
	return all
}

// definitions returns the files of each test of the module and of those in it.
func definitions(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	root := docs.Root(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			out[m[1]] = append(out[m[1]], path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// page returns a page by its path.
func page(t *testing.T, path string) docs.Page {
	t.Helper()
	for _, p := range docs.Pages(t) {
		if p.Path == path {
			return p
		}
	}
	t.Fatalf("there is no %s", path)
	return docs.Page{}
}

// namedTestsExist checks that there is each test that a page names, once.
func namedTestsExist(t *testing.T, p docs.Page) {
	t.Helper()
	tests := definitions(t)
	for _, m := range testNamed.FindAllStringSubmatch(p.Text, -1) {
		if n := len(tests[m[1]]); n != 1 {
			t.Errorf("%s: there are %d tests %s, and a reader has to find one: %q", p.Path, n, m[1], tests[m[1]])
		}
		if m[2] == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(docs.Root(t), "proxier", "testdata", "stories", m[2]+".txtar")); m[1] != "TestStories" || err != nil {
			t.Errorf("%s: there is no test %s: %v", p.Path, m[0], err)
		}
	}
}

// Every claim of docs/security.md names a test or says why there is none.
func TestClaimsAreHeld(t *testing.T) {
	p := page(t, "docs/security.md")
	namedTestsExist(t, p)
	all := claims(p)
	if len(all) < 40 {
		t.Errorf("%s: %d claims were found, and there are more", p.Path, len(all))
	}
	for _, claim := range all {
		if !testNamed.MatchString(claim) && !noTest.MatchString(claim) {
			t.Errorf("%s: no test is named beside: %s", p.Path, claim)
		}
	}
}

var (
	makeNamed = regexp.MustCompile("`make ([a-z0-9-]+)")
	peersOf   = regexp.MustCompile(`k8s\.io/kubernetes v(1\.\d+)(\.\d+)`)
	notPlayed = regexp.MustCompile(`\| (not tried|not supported)`)
)

const triedTable = "## What it is tested with\n"

// Each row of the support matrix of docs/support.md names the tests that it rests on, or says that
// there is none; and Kubernetes is of the version of the tests.
func TestSupportIsTried(t *testing.T) {
	p := page(t, "docs/support.md")
	namedTestsExist(t, p)
	_, matrix, _ := strings.Cut(p.Text, triedTable)
	matrix, _, _ = strings.Cut(matrix, "\n## ")
	makefile, err := os.ReadFile(filepath.Join(docs.Root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, row := range claims(docs.Page{Text: triedTable + matrix}) {
		if !strings.HasPrefix(row, "|") {
			continue
		}
		rows++
		targets := makeNamed.FindAllStringSubmatch(row, -1)
		if len(targets) == 0 && !testNamed.MatchString(row) && !notPlayed.MatchString(row) {
			t.Errorf("%s: no test is named in: %s", p.Path, row)
		}
		for _, m := range targets {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no make %s: %s", p.Path, m[1], row)
			}
		}
	}
	if rows < 20 {
		t.Errorf("%s: %d rows were found, and there are more", p.Path, rows)
	}
	peers, err := os.ReadFile(filepath.Join(docs.Root(t), "test", "peers", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if v := peersOf.FindSubmatch(peers); v == nil || !strings.Contains(matrix, string("| "+string(v[1])+" ("+string(v[1])+string(v[2])+") |")) {
		t.Errorf("%s: test/peers has Kubernetes %s, which is no row", p.Path, v)
	}
}

// docs/README.md leads to each page beside it, and README.md to those beside that.
func TestPagesAreListed(t *testing.T) {
	for _, p := range docs.Pages(t) {
		dir, name := filepath.Split(p.Path)
		if name == "README.md" || dir == "test/" {
			continue
		}
		if list := page(t, dir+"README.md"); !strings.Contains(list.Text, "]("+name+")") {
			t.Errorf("%s does not lead to %s", list.Path, name)
		}
	}
}

func TestClaims(t *testing.T) {
	p := docs.Page{Text: "# T\n\nIntro.\n\n## S\n\nOne\nclaim.\n\n    code\n\n| a | b |\n|---|---|\n| c | d |\n| e | f |\n\n- one\n  item\n- two\n\nLast.\n"}
	if got := claims(p); !slices.Equal(got, []string{"One claim.", "| c | d |", "| e | f |", "- one item", "- two", "Last."}) {
		t.Errorf("%q", got)
	}
}
