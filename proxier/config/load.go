package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// layers builds the configuration: flags over a file over defaults.
type layers struct {
	docs     *documents
	strict   bool
	fields   map[string]reflect.Value
	origins  map[string]origin // of values that are not defaults
	errs     []error
	warnings []string
}

// origin is the source of a value: as text for Origins, and as place for messages.
type origin struct{ text, place string }

func newLayers() *layers {
	d := defaults()
	return &layers{docs: d, fields: d.fields(), origins: map[string]origin{}}
}

// Load returns the effective configuration. Its error has all faults; with an error only the warnings of
// the configuration are valid.
func (f *Flags) Load() (*Config, error) {
	l := newLayers()
	l.strict = f.Strict
	var sum Digest
	if f.File != "" {
		sum = l.readFile(f.File)
	}
	l.apply(f.given)
	c, err := l.finish()
	c.File, c.Digest = f.File, sum
	return c, err
}

// Given reports whether a configuration is given: a file, or a flag that sets more than the log.
func (f *Flags) Given() bool {
	return f.File != "" || slices.ContainsFunc(f.given, func(g given) bool {
		return g.spec.path != "" && !strings.HasPrefix(g.spec.path, "logging.")
	})
}

// Decode returns the configuration of data, which WriteYAML or WriteJSON of any version has written.
// name is the origin of the values.
func Decode(name string, data []byte) (*Config, error) {
	l := newLayers()
	l.decode(name, data)
	return l.finish()
}

// finish checks the layers, and returns the configuration.
func (l *layers) finish() (*Config, error) {
	l.fill()
	c := l.effective()
	l.gates(c)
	c.Warnings, c.Origins = l.warnings, map[string]string{}
	for path := range l.fields {
		if classes[path].effect == honoured {
			c.Origins[path] = l.originOf(path)
		}
	}
	var text bytes.Buffer
	_ = c.WriteJSON(&text) // a buffer takes all
	if text.Len() > MaxSize {
		l.errs = append(l.errs, fmt.Errorf("the configuration has %d bytes as JSON, and may have %d", text.Len(), MaxSize))
	}
	return c, errors.Join(l.errs...)
}

func (l *layers) originOf(path string) string {
	if o, ok := l.origins[path]; ok {
		return o.text
	}
	return "default"
}

// fill sets the default of fields whose empty value means the default.
func (l *layers) fill() {
	d := defaultFields()
	for path, v := range l.fields {
		if v.IsZero() && (v.Kind() == reflect.String || v.Kind() == reflect.Float32) && !d[path].IsZero() {
			v.Set(d[path])
		}
	}
	if burst := l.fields["clientConnection.burst"]; burst.IsZero() {
		burst.Set(d["clientConnection.burst"])
	}
}

// check notes the error of a field, with the place of its value.
func (l *layers) check(path string, err error) {
	if err == nil {
		return
	}
	place := flagOf(path)
	if o, ok := l.origins[path]; ok {
		place = o.place
	}
	all := []error{err}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) { // the errors of a list have a line each
		all = joined.Unwrap()
	}
	for _, err := range all {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", place, err))
	}
}

// oddities notes a part of the file that no field takes.
func (l *layers) oddities(text string) {
	if l.strict {
		l.errs = append(l.errs, errors.New(text))
		return
	}
	l.warnings = append(l.warnings, text)
}

func (l *layers) warn(path, format string, args ...any) {
	place := path
	if o, ok := l.origins[path]; ok {
		place = o.place
	}
	l.warnings = append(l.warnings, place+": "+fmt.Sprintf(format, args...))
}
