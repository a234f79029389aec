package config

import (
	"errors"
	"fmt"
	"reflect"
)

// layers is the configuration while flags are put over a file over defaults.
type layers struct {
	docs     *documents
	strict   bool
	fields   map[string]reflect.Value
	origins  map[string]origin // of what is not a default
	errs     []error
	warnings []string
}

// origin is where a value comes from, for people who ask where, and for
// messages about it.
type origin struct{ text, place string }

func newLayers() *layers {
	d := defaults()
	return &layers{docs: d, fields: d.fields(), origins: map[string]origin{}}
}

// Load returns the effective configuration. The error names all that is wrong;
// of the configuration only the warnings are of use then.
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

// finish checks what the layers have come to.
func (l *layers) finish() (*Config, error) {
	l.fill()
	c := l.effective()
	l.gates(c)
	c.Warnings, c.Origins, c.docs = l.warnings, map[string]string{}, l.docs
	for path := range l.fields {
		if classes[path].effect == honoured {
			c.Origins[path] = l.originOf(path)
		}
	}
	return c, errors.Join(l.errs...)
}

func (l *layers) originOf(path string) string {
	if o, ok := l.origins[path]; ok {
		return o.text
	}
	return "default"
}

// fill gives what is empty the default, where empty means it.
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

// check notes what is wrong with a field, with the place that gave it.
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
	if errors.As(err, &joined) { // of a list: each on a line of its own
		all = joined.Unwrap()
	}
	for _, err := range all {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", place, err))
	}
}

// oddities notes what the file has that no field takes.
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
