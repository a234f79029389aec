package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// part is a JSON schema, or a part of one.
type part map[string]any

// narrower lists where a schema takes less than an older one: a property is gone, or a value
// that was right is not any more, or may not be, as with another pattern.
type narrower struct {
	old, new part // whole, to find definitions in
	found    map[string]string
}

// narrowed returns the paths at which new takes less than old, and how.
func narrowed(old, new part) map[string]string {
	n := narrower{old: old, new: new, found: map[string]string{}}
	n.compare("", old, new)
	return n.found
}

// described are keywords by which no value is refused, and compared those that compare knows.
var (
	described = []string{"$schema", "title", "description", "default", "examples", "definitions"}
	compared  = []string{"$ref", "type", "enum", "const", "properties", "additionalProperties", "required", "items", "anyOf", "pattern",
		"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"}
)

func (n narrower) say(path, format string, args ...any) {
	n.found[path] = strings.TrimPrefix(n.found[path]+"; "+fmt.Sprintf(format, args...), "; ")
}

// resolve follows a reference to a definition.
func resolve(root, p part) part {
	if ref, ok := p["$ref"].(string); ok {
		definitions, _ := root["definitions"].(map[string]any)
		p, _ = definitions[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
	}
	return p
}

func (n narrower) compare(path string, old, new part) {
	old, new = resolve(n.old, old), resolve(n.new, new)
	for word := range new {
		if !slices.Contains(described, word) && !slices.Contains(compared, word) {
			n.say(path, "the test does not know %s", word)
		}
	}
	if n.alternatives(path, old, new) {
		return
	}
	n.values(path, old, new)
	n.bounds(path, old, new)
	n.keys(path, old, new)
	if items, ok := new["items"].(map[string]any); ok {
		before, _ := old["items"].(map[string]any)
		n.compare(path+"/[]", before, items)
	}
}

// alternatives compares where one of both takes any of several schemas: each of the older
// ones has to be taken by one of the newer.
func (n narrower) alternatives(path string, old, new part) bool {
	before, after := anyOf(old), anyOf(new)
	if len(before) == 1 && len(after) == 1 {
		return false
	}
	for i, b := range before {
		taken := slices.ContainsFunc(after, func(a part) bool {
			try := narrower{old: n.old, new: n.new, found: map[string]string{}}
			try.compare(path, b, a)
			return len(try.found) == 0
		})
		if !taken {
			n.say(path, "no alternative takes what number %d took", i+1)
		}
	}
	return true
}

func anyOf(p part) (out []part) {
	all, _ := p["anyOf"].([]any)
	for _, a := range all {
		m, _ := a.(map[string]any)
		out = append(out, m)
	}
	if out == nil {
		return []part{p}
	}
	return out
}

func (n narrower) values(path string, old, new part) {
	if types := list(new["type"]); types != nil {
		for _, was := range either(list(old["type"]), "any") {
			if !slices.Contains(types, was) && (was != "integer" || !slices.Contains(types, any("number"))) {
				n.say(path, "the type %v is gone", was)
			}
		}
	}
	if enum := choices(new); enum != nil {
		for _, was := range either(choices(old), "any") {
			if !slices.Contains(enum, was) {
				n.say(path, "the value %v is gone", was)
			}
		}
	}
	if p := new["pattern"]; p != nil && p != old["pattern"] && choices(old) == nil {
		n.say(path, "the pattern is another")
	}
	if new["uniqueItems"] == true && old["uniqueItems"] != true {
		n.say(path, "items have to differ")
	}
}

// choices returns the only values that a schema takes, or nil.
func choices(p part) []any {
	if c, ok := p["const"]; ok {
		return []any{c}
	}
	enum, _ := p["enum"].([]any)
	return enum
}

func either(all []any, none any) []any {
	if all == nil {
		return []any{none}
	}
	return all
}

func list(v any) []any {
	if all, ok := v.([]any); ok || v == nil {
		return all
	}
	return []any{v}
}

func (n narrower) bounds(path string, old, new part) {
	if choices(old) != nil {
		return
	}
	for _, word := range []string{"minimum", "minLength", "minItems"} {
		if bound, ok := new[word].(float64); ok {
			if was, had := old[word].(float64); (!had && (word == "minimum" || bound > 0)) || had && bound > was {
				n.say(path, "%s has risen", word)
			}
		}
	}
	for _, word := range []string{"maximum", "maxLength", "maxItems"} {
		if bound, ok := new[word].(float64); ok {
			if was, had := old[word].(float64); !had || bound < was {
				n.say(path, "%s has fallen", word)
			}
		}
	}
}

// keys compares the keys of an object.
func (n narrower) keys(path string, old, new part) {
	for _, key := range list(new["required"]) {
		if !slices.Contains(list(old["required"]), key) {
			n.say(path, "%v is required", key)
		}
	}
	before, _ := old["properties"].(map[string]any)
	after, _ := new["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(before)) {
		was, _ := before[key].(map[string]any)
		if is, ok := after[key].(map[string]any); ok {
			n.compare(path+"/"+key, was, is)
		} else {
			n.others(path+"/"+key, was, new["additionalProperties"])
		}
	}
	if old["additionalProperties"] == false {
		return
	}
	rest, _ := old["additionalProperties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, had := before[key]; !had {
			is, _ := after[key].(map[string]any)
			n.compare(path+"/"+key, rest, is)
		}
	}
	n.others(path+"/*", rest, new["additionalProperties"])
}

// others compares a schema with that of all keys which are not named.
func (n narrower) others(path string, old part, new any) {
	switch is := new.(type) {
	case bool:
		if !is {
			n.say(path, "the key is gone")
		}
	case map[string]any:
		n.compare(path, old, is)
	}
}

// Each kind of loss is seen, and nothing that takes as much as before.
func TestNarrowed(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`{}`, `{}`, ``},
		{`{"type":"string"}`, `{"type":["string","null"],"description":"x"}`, ``},
		{`{"type":["string","null"]}`, `{"type":"string"}`, `: the type null is gone`},
		{`{}`, `{"type":"string"}`, `: the type any is gone`},
		{`{"type":"integer"}`, `{"type":"number"}`, ``},
		{`{"enum":["a","b"]}`, `{"enum":["b"]}`, `: the value a is gone`},
		{`{"enum":["a"]}`, `{"enum":["a","b"]}`, ``},
		{`{"const":1}`, `{"const":2}`, `: the value 1 is gone`},
		{`{"pattern":"a"}`, `{"pattern":"b"}`, `: the pattern is another`},
		{`{"pattern":"a"}`, `{}`, ``},
		{`{}`, `{"minimum":0}`, `: minimum has risen`},
		{`{"minimum":1,"maximum":5}`, `{"minimum":0,"maximum":4}`, `: maximum has fallen`},
		{`{"minLength":1}`, `{"minLength":2}`, `: minLength has risen`},
		{`{}`, `{"uniqueItems":true}`, `: items have to differ`},
		{`{"properties":{"a":{}},"additionalProperties":false}`, `{"additionalProperties":false}`, `/a: the key is gone`},
		{`{"properties":{"a":{"enum":[1]}},"additionalProperties":false}`, `{"additionalProperties":{"enum":[2]}}`, `/a: the value 1 is gone`},
		{`{"additionalProperties":false}`, `{"properties":{"a":{"type":"string"}},"additionalProperties":false}`, ``},
		{`{}`, `{"additionalProperties":false}`, `/*: the key is gone`},
		{`{}`, `{"properties":{"a":{"type":"string"}}}`, `/a: the type any is gone`},
		{`{"required":["a"]}`, `{"required":["a","b"]}`, `: b is required`},
		{`{"items":{"enum":[1,2]}}`, `{"items":{"enum":[1]}}`, `/[]: the value 2 is gone`},
		{`{"$ref":"#/definitions/d","definitions":{"d":{"enum":[1,2]}}}`, `{"enum":[1]}`, `: the value 2 is gone`},
		{`{"anyOf":[{"const":1},{"const":2}]}`, `{"anyOf":[{"const":2},{"const":3}]}`, `: no alternative takes what number 1 took`},
		{`{"const":1}`, `{"anyOf":[{"const":1},{"const":2}]}`, ``},
		{`{"anyOf":[{"const":1},{"const":2}]}`, `{"enum":[1,2]}`, ``},
		{`{}`, `{"format":"date"}`, `: the test does not know format`},
	} {
		var lines []string
		found := narrowed(parse(t, c.old), parse(t, c.new))
		for _, path := range slices.Sorted(maps.Keys(found)) {
			lines = append(lines, path+": "+found[path])
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.old, c.new, got, c.want)
		}
	}
}

func parse(t *testing.T, text string) (p part) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}
