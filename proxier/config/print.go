package config

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// WriteYAML writes the effective configuration as the two documents, each value with its origin. The
// result is a valid file for --config, with the same meaning.
func (c *Config) WriteYAML(w io.Writer) error {
	var b strings.Builder
	for i, kind := range []string{proxyKind, ownKind} {
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\n", versionOf(kind), kind)
		c.yaml(&b, c.documents.document(kind), "", 0)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func versionOf(kind string) string {
	if kind == ownKind {
		return ownVersion
	}
	return proxyVersion
}

// yaml writes the fields of a struct. It returns false if it has written none.
func (c *Config) yaml(b *strings.Builder, v reflect.Value, prefix string, depth int) bool {
	some := false
	for i := range v.NumField() {
		name, inline := fieldName(v.Type().Field(i))
		path, f := join(prefix, name), v.Field(i)
		if inline {
			continue // TypeMeta, and ignored fields
		}
		indent := strings.Repeat("  ", depth)
		if !isLeaf(f.Type()) {
			var group strings.Builder
			if c.yaml(&group, f, path, depth+1) {
				fmt.Fprintf(b, "%s%s:\n%s", indent, name, group.String())
				some = true
			}
			continue
		}
		origin, ok := c.Origins[path]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "%s%s: %s # %s\n", indent, name, scalar(f), comment(origin))
		some = true
	}
	return some
}

// comment returns a text that cannot end a comment.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}

var bareText = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9._/:+-]*$`)

// oldBool matches the words that other YAML parsers take for true or false.
var oldBool = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off)$`)

// scalar returns a value as YAML on one line: plain if that is safe, or else as JSON, which is YAML too.
func scalar(v reflect.Value) string {
	if v.Kind() == reflect.String && bareText.MatchString(v.String()) && !oldBool.MatchString(v.String()) {
		var back any
		if yaml.Unmarshal([]byte(v.String()), &back) == nil && back == v.String() {
			return v.String()
		}
	}
	if v.Type() == duration || v.Kind() == reflect.Pointer && v.Type().Elem() == duration {
		return plain(v)
	}
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return "[]"
	}
	if v.Kind() == reflect.Map && v.Len() == 0 {
		return "{}"
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return `""` // no field can fail
	}
	return escape(string(text))
}

// WriteJSON writes the effective configuration as two JSON values, without origins. The result is a valid
// file for --config.
func (c *Config) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	for _, kind := range []string{proxyKind, ownKind} {
		if err := e.Encode(c.document(kind)); err != nil {
			return err
		}
	}
	return nil
}

// Documents returns the documents of kube-proxy and kube-ipvs as values for JSON.
func (c *Config) Documents() (kubeProxy, own any) {
	return c.document(proxyKind), c.document(ownKind)
}

func (c *Config) document(kind string) map[string]any {
	doc := map[string]any{"apiVersion": versionOf(kind), "kind": kind}
	for path, v := range leaves(c.documents.document(kind)) {
		if _, ok := c.Origins[path]; !ok {
			continue
		}
		at := doc
		names := strings.Split(path, ".")
		for _, n := range names[:len(names)-1] {
			if at[n] == nil {
				at[n] = map[string]any{}
			}
			at = at[n].(map[string]any)
		}
		at[names[len(names)-1]] = v.Interface()
	}
	return doc
}
