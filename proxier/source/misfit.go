package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// misfit returns the field of an object with a value of the wrong type, and the expected type. For other
// faults it returns the text of err, the decoder's error.
func misfit(data []byte, kind schema.GroupVersionKind, err error) (field, what string) {
	obj, unknown := scheme.New(kind)
	if unknown != nil {
		return "", err.Error()
	}
	var wrong *json.UnmarshalTypeError // err has neither the value nor the type
	if !errors.As(json.Unmarshal(data, obj), &wrong) || wrong.Field == "" {
		return "", err.Error()
	}
	var whole any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	_ = d.Decode(&whole) // it was decoded before
	at, value, ok := find(whole, strings.Split(wrong.Field, "."), wrong.Value)
	if !ok {
		return wrong.Field, err.Error()
	}
	return strings.TrimPrefix(at, "."), fmt.Sprintf("%s is expected, and %s", expected(wrong.Type), described(value))
}

// find returns the first value below v with the description of a json.UnmarshalTypeError, and its place.
// path is the path of its field, without indexes of lists and keys of maps.
func find(v any, path []string, called string) (at string, value any, ok bool) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			if at, value, ok = find(v[i], path, called); ok {
				return fmt.Sprintf("[%d]%s", i, at), value, true
			}
		}
	case map[string]any:
		keys, rest := slices.Sorted(maps.Keys(v)), path
		if len(path) > 0 {
			keys, rest = path[:1], path[1:]
		}
		for _, key := range keys {
			if at, value, ok = find(v[key], rest, called); ok {
				return "." + key + at, value, true
			}
		}
	}
	return "", v, len(path) == 0 && isCalled(v, called)
}

func isCalled(v any, called string) bool {
	switch v := v.(type) {
	case string:
		return called == "string"
	case bool:
		return called == "bool"
	case json.Number:
		return called == "number" || called == "number "+v.String()
	case []any:
		return called == "array"
	case map[string]any:
		return called == "object"
	}
	return false
}

func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return expected(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of up to %d bits", t.Bits())
	case reflect.Slice:
		return "a list"
	}
	return "a set of fields"
}

func described(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.40q is text", v)
	case bool:
		return fmt.Sprintf("%t is not", v)
	case json.Number:
		return fmt.Sprintf("%.40s is a number", v)
	case []any:
		return "this is a list"
	}
	return "this is a set of fields"
}
