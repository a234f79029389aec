package config

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/test/lib/docs"
)

// The tables of docs/configuration.md say what the code says: which fields and
// flags there are, what becomes of them, their defaults and their meaning.
func TestConfigurationIsDocumented(t *testing.T) {
	const file = "configuration.md"
	docs.Hold(t, file, "fields of kube-proxy", fieldTable(t, proxyKind))
	docs.Hold(t, file, "fields of kube-proxy without an effect", ignoredTable())
	docs.Hold(t, file, "fields of kube-ipvs", fieldTable(t, ownKind))
	docs.Hold(t, file, "fields followed live", liveList())
	docs.Hold(t, file, "flags", flagTable())
	docs.Hold(t, file, "flags without an effect", ignoredFlagTable())
}

// fieldTable describes the fields of a document that are honoured.
func fieldTable(t *testing.T, kind string) string {
	t.Helper()
	var rows [][]string
	for path, v := range leaves(defaults().document(kind)) {
		c := classes[path]
		if c.effect != honoured {
			continue
		}
		flag, about := flagOf(path), c.about
		if flag == path {
			flag = ""
		} else {
			about = specOf(path).usage
			flag = code(flag)
		}
		if about == "" {
			t.Errorf("nothing says what %s means", path)
		}
		row := []string{code(path), typeOf(v.Type()), defaultOf(v), flag, about}
		if kind == proxyKind {
			row = slices.Insert(row, 1, cmp.Or(c.here, "honoured"))
		}
		rows = append(rows, row)
	}
	head := []string{"field", "type", "default", "flag", "meaning"}
	if kind == proxyKind {
		head = slices.Insert(head, 1, "here")
	}
	return docs.Table(head, rows)
}

// liveList names the fields that are followed without a restart.
func liveList() string {
	var names []string
	for _, s := range specs {
		if s.live {
			names = append(names, code(s.path))
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ignoredTable describes the fields of kube-proxy's document that have no effect.
func ignoredTable() string {
	var rows [][]string
	for path := range leaves(defaults().document(proxyKind)) {
		switch c := classes[path]; {
		case c.effect == ignored && c.usual != "":
			rows = append(rows, []string{code(path), "ignored with a warning, unless it is " + code(strings.Trim(c.usual, `"`)), c.why})
		case c.effect == ignored:
			rows = append(rows, []string{code(path), "ignored with a warning", c.why})
		case c.effect == silent:
			rows = append(rows, []string{code(path), "ignored", "it has no effect"})
		}
	}
	return docs.Table([]string{"field", "here", "why"}, rows)
}

// flagTable lists the flags that set fields, by name.
func flagTable() string {
	var rows [][]string
	for _, s := range specs {
		var about []string
		if len(s.aliases) > 0 {
			about = append(about, "also "+codes(s.aliases))
		}
		if s.short != "" && s.short != s.name {
			about = append(about, "also "+code("-"+s.short))
		}
		if s.bare != "" {
			about = append(about, "alone it means "+code(s.bare))
		}
		if s.whole {
			about = append(about, "given again, it adds one")
		}
		if code("--"+s.name) != code(flagOf(s.path)) { // the field has another that is described there
			about = append(about, s.usage)
		}
		rows = append(rows, []string{code("--" + s.name), code(s.path), strings.Join(about, "; ")})
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return docs.Table([]string{"flag", "field", "besides"}, rows)
}

// ignoredFlagTable lists the flags that do nothing, by reason.
func ignoredFlagTable() string {
	by := map[string][]string{}
	for name := range ignoredFlags {
		by[ignoredReason(name)] = append(by[ignoredReason(name)], name)
	}
	var rows [][]string
	for _, why := range slices.Sorted(maps.Keys(by)) {
		rows = append(rows, []string{codes(slices.Sorted(slices.Values(by[why]))), why})
	}
	return docs.Table([]string{"flags", "why"}, rows)
}

func code(s string) string { return "`" + s + "`" }

func codes(flags []string) string {
	var out []string
	for _, f := range flags {
		out = append(out, code("--"+f))
	}
	return strings.Join(out, ", ")
}

func defaultOf(v reflect.Value) string {
	if text := plain(v); text != "" {
		return code(text)
	}
	return ""
}

// typeOf returns the name of a type for authors of YAML.
func typeOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == duration:
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list of text"
	case t.Kind() == reflect.Map:
		return "name: true or false"
	case t.Kind() == reflect.Int32, t.Kind() == reflect.Uint32:
		return "whole number"
	case t.Kind() == reflect.Float32:
		return "number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return "text"
}
