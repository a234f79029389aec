package chart

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is a part of values.schema.json.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 any                `json:"type"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties any                `json:"additionalProperties"`
	Definitions          map[string]*schema `json:"definitions"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// Objects that the chart describes take no other keys. global is shared with
// other charts.
func TestSchemaIsClosed(t *testing.T) {
	var visit func(path string, s *schema)
	visit = func(path string, s *schema) {
		if len(s.Properties) > 0 && s.AdditionalProperties != false && path != "/global" {
			t.Errorf("%s takes any key", path)
		}
		for name, p := range s.Properties {
			visit(path+"/"+name, p)
		}
	}
	visit("", readSchema(t))
}

// Every value is in values.yaml and in the schema, and has a description: a comment of
// its own, or one above it in the same group.
func TestValuesAreDescribed(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	root := readSchema(t)
	var visit func(path string, n *yaml.Node, s *schema)
	visit = func(path string, n *yaml.Node, s *schema) {
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			at := path + "/" + key.Value
			p := s.Properties[key.Value]
			if p == nil {
				if len(s.Properties) > 0 {
					t.Errorf("%s is not in the schema", at)
				}
				continue
			}
			if path == "" && key.HeadComment == "" {
				t.Errorf("%s has no comment", at)
			}
			if value.Kind == yaml.MappingNode {
				visit(at, value, p)
			}
		}
	}
	visit("", doc.Content[0], root)
	have := map[string]any{}
	if err := yaml.Unmarshal(text, &have); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(root.Properties)) {
		if _, ok := have[name]; !ok && name != "global" {
			t.Errorf("%s is in the schema and not in values.yaml", name)
		}
	}
}
