package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kube-ipvs/test/lib/docs"
)

// form is an issue form, as the forge reads it: an unknown key makes it refuse the whole form.
type form struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Labels      []string `json:"labels"`
	Body        []struct {
		Type       string `json:"type"`
		ID         string `json:"id"`
		Attributes struct {
			Label       string `json:"label"`
			Description string `json:"description"`
			Placeholder string `json:"placeholder"`
			Value       string `json:"value"`
			Render      string `json:"render"`
			Options     []struct {
				Label string `json:"label"`
			} `json:"options"`
		} `json:"attributes"`
		Validations struct {
			Required bool `json:"required"`
		} `json:"validations"`
	} `json:"body"`
}

var formID = regexp.MustCompile(`^[a-z0-9_-]+$`)

// The forge takes each form for issues, and the commands that they ask for exist.
func TestIssueForms(t *testing.T) {
	commands := commandFlags(t)
	files, err := filepath.Glob(filepath.Join(docs.Root(t), ".github", "ISSUE_TEMPLATE", "*.yml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	asked := 0
	for _, path := range files {
		name := filepath.Base(path)
		if name == "config.yml" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var f form
		if err := yaml.UnmarshalStrict(text, &f); err != nil || f.Name == "" || f.Description == "" {
			t.Errorf("%s: %v, name %q, description %q", name, err, f.Name, f.Description)
		}
		seen, fields := map[string]bool{}, 0
		for _, b := range f.Body {
			a := b.Attributes
			if b.Type == "markdown" {
				if a.Value == "" {
					t.Errorf("%s: there is no text", name)
				}
				continue
			}
			fields++
			if !slices.Contains([]string{"textarea", "input", "checkboxes"}, b.Type) || !formID.MatchString(b.ID) || a.Label == "" || seen[b.ID] || seen[a.Label] {
				t.Errorf("%s: %s %q, label %q: unknown, unnamed or twice", name, b.Type, b.ID, a.Label)
			}
			seen[b.ID], seen[a.Label] = true, true
			asked += asks(t, commands, name, a.Label+"\n"+a.Description)
		}
		if fields == 0 {
			t.Errorf("%s asks for nothing", name)
		}
	}
	if asked < 5 {
		t.Errorf("%d commands were found, and there are more", asked)
	}
}

// asks returns how many commands of kube-ipvs a text has.
func asks(t *testing.T, commands map[string][]string, name, text string) (n int) {
	t.Helper()
	for _, code := range (docs.Page{Text: text}).Code() {
		words := strings.Fields(code)
		if words[0] != "kube-ipvs" {
			continue
		}
		n++
		if problem := wrong(commands, words[1:]); problem != "" {
			t.Errorf("%s: %s: %s", name, code, problem)
		}
	}
	return n
}
