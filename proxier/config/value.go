package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var duration = reflect.TypeFor[metav1.Duration]()

// valueOf decodes a YAML value as a type. Its error is not meant for messages.
func valueOf(n *yaml.Node, t reflect.Type) (reflect.Value, error) {
	to := reflect.New(t)
	switch {
	case t.Kind() == reflect.String && !isLeafStruct(t):
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" {
			return to, errors.New("no text")
		}
		to.Elem().SetString(n.Value)
		return to.Elem(), nil
	case t.Kind() == reflect.Bool:
		b, err := boolOf(n)
		to.Elem().SetBool(b)
		return to.Elem(), err
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Bool:
		b, err := boolOf(n)
		to.Elem().Set(reflect.ValueOf(&b))
		return to.Elem(), err
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return to, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return to, err
	}
	if t.Kind() == reflect.Pointer {
		one, err := fromText(text, t.Elem())
		if err != nil {
			return to, err
		}
		to.Elem().Set(one.Addr())
		return to.Elem(), nil
	}
	return fromText(text, t)
}

// boolOf decodes a truth value of YAML 1.1, as kube-proxy does, with yes and no. The library knows these
// only without a tag and only for a bool.
func boolOf(n *yaml.Node) (b bool, err error) {
	plain := *n
	if n.ShortTag() == "!!bool" {
		plain.Tag, plain.Style = "", 0
	}
	err = plain.Decode(&b)
	return b, err
}

func fromText(text []byte, t reflect.Type) (reflect.Value, error) {
	to := reflect.New(t)
	return to.Elem(), json.Unmarshal(text, to.Interface())
}

func isLeafStruct(t reflect.Type) bool { return t.Kind() == reflect.Struct }

// wanted describes the values of a type, for messages.
func wanted(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == duration:
		return "a duration such as 30s or 1h30m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text (a number needs quotes)"
	case t.Kind() == reflect.Int32:
		return "a whole number"
	case t.Kind() == reflect.Uint32:
		return "a whole number, 0 or more"
	case t.Kind() == reflect.Float32:
		return "a number"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "a list of strings"
	case t.Kind() == reflect.Map:
		return "a group of NAME: true or NAME: false"
	}
	return "what this field takes"
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of fields"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return "a single value"
}

// show returns a value for a message.
func show(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return kindOf(n)
	}
	return fmt.Sprintf("%.60q", n.Value)
}

// setText sets a field to the text of a flag. split says that commas separate items, and more that the
// flag is repeated, so that its items are added to the earlier ones.
func setText(v reflect.Value, text string, split, more bool) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%q is not UTF-8 text", text)
	}
	if v.Kind() == reflect.Pointer {
		to := reflect.New(v.Type().Elem())
		v.Set(to)
		v = to.Elem()
	}
	bad := fmt.Errorf("%q is not %s", text, wanted(v.Type()))
	switch {
	case v.Type() == duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return bad
		}
		v.Field(0).SetInt(int64(d))
	case v.Kind() == reflect.String:
		if split && more && v.String() != "" {
			text = v.String() + "," + text
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return bad
		}
		v.SetBool(b)
	case v.Kind() == reflect.Int32, v.Kind() == reflect.Uint32, v.Kind() == reflect.Float32:
		n, err := fromText([]byte(text), v.Type())
		if err != nil || text == "null" {
			return bad
		}
		v.Set(n)
	case v.Kind() == reflect.Slice:
		return setList(v, text, split, more)
	case v.Kind() == reflect.Map:
		return setMap(v, text)
	}
	return nil
}

func setList(v reflect.Value, text string, split, more bool) error {
	list := []string{text}
	if split {
		list = items(text)
	}
	if more {
		list = append(v.Interface().([]string), list...)
	}
	v.Set(reflect.ValueOf(list))
	return nil
}

// setMap adds the values of NAME=true,NAME=false to a map.
func setMap(v reflect.Value, text string) error {
	out := map[string]bool{}
	for it := v.MapRange(); it.Next(); {
		out[it.Key().String()] = it.Value().Bool()
	}
	var errs []error
	for _, s := range items(text) {
		name, value, ok := strings.Cut(s, "=")
		b, err := strconv.ParseBool(value)
		if !ok || err != nil || name == "" {
			errs = append(errs, fmt.Errorf("%q is not NAME=true or NAME=false", s))
			continue
		}
		out[name] = b
	}
	v.Set(reflect.ValueOf(out))
	return errors.Join(errs...)
}

// items splits at commas, and drops empty items.
func items(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
