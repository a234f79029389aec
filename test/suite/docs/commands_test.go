package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"
)

// foreign are flags of other programs that the text names by themselves, and
// aboutOthers the pages that do so all the time.
var (
	foreign     = []string{"--run-service-proxy", "--service-external-ip-range", "--noflush"}
	aboutOthers = []string{"docs/install.md", "docs/migrate.md", "docs/alerts.md", "docs/dashboards.md", "docs/releasing.md"}
)

var flagName = regexp.MustCompile(`--[a-z][a-z0-9-]*`)

// commandFlags reads from docs/configuration.md, which other tests hold to the
// program, the flags of each command. Those of run are also under "".
func commandFlags(t *testing.T) map[string][]string {
	t.Helper()
	var text string
	for _, p := range docs.Pages(t) {
		if p.Path == "docs/configuration.md" {
			text = p.Text
		}
	}
	part := func(name string) string {
		_, rest, ok := strings.Cut(text, "<!-- generated: "+name+" -->")
		rest, _, closed := strings.Cut(rest, "<!-- end of "+name+" -->")
		if !ok || !closed {
			t.Fatalf("docs/configuration.md has no part %q", name)
		}
		return rest
	}
	settings := flagName.FindAllString(part("flags")+part("flags without an effect"), -1)
	out := map[string][]string{}
	for line := range strings.Lines(part("commands")) {
		cells := strings.Split(line, " | ")
		name, ok := strings.CutPrefix(strings.Trim(cells[0], "| `"), "kube-ipvs ")
		if !ok {
			continue
		}
		flags := append(flagName.FindAllString(line, -1), "--help")
		for _, m := range regexp.MustCompile("`(-[a-z])`").FindAllStringSubmatch(line, -1) {
			flags = append(flags, m[1])
		}
		if strings.Contains(line, "those above") {
			flags = append(append(flags, settings...), "-v")
		}
		out[name] = flags
	}
	out["help"] = nil
	out[""] = out["run"]
	return out
}

// Every command of kube-ipvs that the text shows exists, with its flags.
func TestCommands(t *testing.T) {
	commands := commandFlags(t)
	n := 0
	for _, p := range docs.Pages(t) {
		for _, code := range p.Code() {
			code, _, _ = strings.Cut(code, " # ")
			words := strings.Fields(code)
			for i, w := range words {
				starts := i == 0 || slices.Contains([]string{"|", "&&", ";", "&", "--", "sudo"}, words[i-1])
				if !starts || w != "kube-ipvs" && !strings.HasSuffix(w, "/kube-ipvs") {
					continue
				}
				if problem := wrong(commands, words[i+1:]); problem != "" {
					t.Errorf("%s: %s: %s", p.Path, code, problem)
				}
				n++
			}
		}
	}
	if n == 0 {
		t.Error("no command was found")
	}
}

// wrong returns the fault of kube-ipvs's arguments. Words in capitals stand for
// others.
func wrong(commands map[string][]string, args []string) string {
	name := ""
	for len(args) > 0 && name != "config print" && name != "config validate" {
		next := strings.TrimSpace(name + " " + args[0])
		if _, ok := commands[next]; !ok && next != "config" {
			break
		}
		name, args = next, args[1:]
	}
	if name == "" && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if args[0] == strings.ToUpper(args[0]) {
			return ""
		}
		return "there is no command " + args[0]
	}
	if name == "config" {
		if slices.Equal(args, []string{"--help"}) {
			return ""
		}
		return "config wants print or validate"
	}
	for _, a := range args {
		flag, _, _ := strings.Cut(strings.Trim(a, "[]"), "=")
		if slices.Contains([]string{"|", "&&", ";", "&", "2>&1"}, a) {
			return ""
		}
		if strings.HasPrefix(flag, "-") && !slices.Contains(commands[name], flag) {
			return name + " has no flag " + flag
		}
	}
	return ""
}

// Every flag that the text names by itself is one of some command.
func TestFlags(t *testing.T) {
	var all []string
	for _, flags := range commandFlags(t) {
		all = append(all, flags...)
	}
	n := 0
	for _, p := range docs.Pages(t) {
		if slices.Contains(aboutOthers, p.Path) {
			continue
		}
		for _, code := range p.Code() {
			word, _, _ := strings.Cut(code, " ")
			flag, _, _ := strings.Cut(word, "=")
			if loc := flagName.FindStringIndex(flag); loc == nil || loc[0] != 0 || strings.HasSuffix(flag, "*") || slices.Contains(foreign, flag) {
				continue
			}
			n++
			if !slices.Contains(all, flag) {
				t.Errorf("%s: there is no flag %s", p.Path, flag)
			}
		}
	}
	if n == 0 {
		t.Error("no flag was found")
	}
}

func TestWrong(t *testing.T) {
	commands := commandFlags(t)
	for args, want := range map[string]string{
		"run --manifests x": "", "--config=x": "", "plan [FLAGS]": "", "COMMAND --help": "", "config validate FILE --scheduler=lc": "", "state -o json": "",
		"start": "there is no command start", "run --manifest x": "run has no flag --manifest", "state --config x": "state has no flag --config",
		"config --help": "", "config --config x": "config wants print or validate", "--takeovers": " has no flag --takeovers",
	} {
		if got := wrong(commands, strings.Fields(args)); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

// A test in a cluster enters the commands below each heading of the pages of installation, or gives
// a reason why none does. TestEveryCommand of test/e2e/life looks at each command, but wants a
// cluster for an hour: a new heading with commands has to be found before.
func TestHeadingsOfClusterCommands(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(docs.Root(t), "test/e2e/life/*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var life strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		life.Write(text)
	}
	for _, file := range []string{"install.md", "migrate.md"} {
		for _, s := range docs.Sections(t, file) {
			if !strings.Contains(life.String(), `"`+s.Heading+`"`) && !strings.Contains(life.String(), `"`+file+": "+s.Heading+`"`) {
				t.Errorf("docs/%s, %s: no test of test/e2e/life names this heading, and its commands are %q", file, s.Heading, s.Commands)
			}
		}
	}
}
