package explain

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
)

func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The worked example in the documentation is what is printed.
func TestExampleIsReal(t *testing.T) {
	m := model.New(model.Node{Name: "node"})
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range strings.Split(string(text), "\n---\n") {
			example(t, m, doc, fmt.Sprintf("examples/%s, document %d", filepath.Base(file), i+1))
		}
	}
	c := config(desired.Image)
	c.NodeName, c.PodCIDRs[1] = "node", netip.Prefix{}
	n := newNode(c, m)
	n.compare(t)
	got := say(t, n, "192.168.50.202:80")
	if text := "    " + strings.ReplaceAll(strings.TrimSuffix(got, "\n"), "\n", "\n    "); !strings.Contains(docs(t), strings.ReplaceAll(text, "\n    \n", "\n\n")) {
		t.Errorf("docs/explain.md does not have\n%s", text)
	}
}

func example(t *testing.T, m *model.Model, doc, origin string) {
	t.Helper()
	switch kind := regexp.MustCompile(`(?m)^kind: (\w+)$`).FindStringSubmatch(doc); {
	case kind == nil:
		t.Fatalf("%s has no kind", origin)
	case kind[1] == "Service":
		s := &corev1.Service{}
		if err := yaml.Unmarshal([]byte(doc), s); err != nil {
			t.Fatal(err)
		}
		s.Namespace = "default"
		model.Default(s)
		m.ApplyService(s, origin)
	case kind[1] == "EndpointSlice":
		s := &discoveryv1.EndpointSlice{}
		if err := yaml.Unmarshal([]byte(doc), s); err != nil {
			t.Fatal(err)
		}
		s.Namespace = "default"
		model.DefaultSlice(s)
		m.ApplySlice(s, origin)
	}
}

// Every field, reason and outcome is documented.
func TestWordsAreDocumented(t *testing.T) {
	text := docs(t)
	var words []string
	for r := model.Chosen; r <= model.OtherFamily; r++ {
		words = append(words, r.String())
	}
	words = append(words, Served, Refused, Dropped, ToHost, PassedOn, Unroutable, schema)
	words = append(words, fields(reflect.TypeFor[Explanation]())...)
	for _, w := range words {
		if w != "schema" && !strings.Contains(text, "`"+w+"`") && !strings.Contains(text, "`"+w+"[]`") && !strings.Contains(text, "."+w+"[]`") {
			t.Errorf("docs/explain.md does not know %q", w)
		}
	}
}

// fields returns the names of all fields that a type has in JSON.
func fields(of reflect.Type) []string {
	for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	var out []string
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" {
			out = append(append(out, name), fields(of.Field(i).Type)...)
		}
	}
	return out
}
