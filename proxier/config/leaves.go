package config

import (
	"encoding/json"
	"iter"
	"reflect"
	"strings"
)

// leaves yields the fields of a struct that have no fields themselves, with their paths in a file. It
// leaves out TypeMeta.
func leaves(v reflect.Value) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		walk(v, "", yield)
	}
}

func walk(v reflect.Value, prefix string, yield func(string, reflect.Value) bool) bool {
	for i := range v.NumField() {
		name, inline := fieldName(v.Type().Field(i))
		path := join(prefix, name)
		if inline {
			path = prefix
		}
		switch f := v.Field(i); {
		case inline && v.Type().Field(i).Name == "TypeMeta" || name == "-":
		case isLeaf(f.Type()):
			if !yield(path, f) {
				return false
			}
		case !walk(f, path, yield):
			return false
		}
	}
	return true
}

// child returns the field of a struct with a name in a file.
func child(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		switch n, inline := fieldName(v.Type().Field(i)); {
		case inline:
			if f, ok := child(v.Field(i), name); ok {
				return f, true
			}
		case n == name:
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// names returns the names of a struct's fields.
func names(v reflect.Value) []string {
	var out []string
	for i := range v.NumField() {
		if n, inline := fieldName(v.Type().Field(i)); inline {
			out = append(out, names(v.Field(i))...)
		} else if n != "" {
			out = append(out, n)
		}
	}
	return out
}

func fieldName(f reflect.StructField) (name string, inline bool) {
	name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
	return name, f.Anonymous && name == ""
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// isLeaf reports whether a field has one value: all but structs that JSON
// reads field by field.
func isLeaf(t reflect.Type) bool {
	return t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(unmarshaler)
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
