package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the flags of a command. Add them to a flag set, parse, and Load.
type Flags struct {
	File   string // --config
	Strict bool   // --strict-config

	given []given
}

// given is a flag of the command line.
type given struct {
	spec *spec
	name string
	text string
}

// spec is a flag that sets a field.
type spec struct {
	path    string // of the field; empty: ignored
	name    string
	aliases []string
	short   string
	usage   string
	def     string                  // the default, in the flag's syntax; empty: the zero value
	choices []string                // the values, if these are some words
	check   func(text string) error // the error of a value, in the flag's syntax; nil: every value, or every choice, is good
	live    bool                    // a running daemon can follow it
	whole   bool                    // a list whose items may have commas, one for each flag
	joins   bool                    // repeated flags are joined with commas
	bare    string                  // the value of the flag without a value; "true" for bool flags
	kind    string                  // type of the value, for the help; empty: that of the field
	set     func(l *layers, v reflect.Value, text string) error
	late    bool   // it changes values of other flags
	old     string // why it is deprecated
}

// Add adds all flags that set fields, --config, and the flags of kube-proxy without effect.
func (f *Flags) Add(fs *pflag.FlagSet) {
	fs.StringVar(&f.File, "config", "", "file with a "+proxyKind+" ("+proxyVersion+"), as kube-proxy reads it, and a "+ownKind+
		" ("+ownVersion+"), either or both. A flag wins over the file: unlike kube-proxy, which ignores most flags then")
	fs.BoolVar(&f.Strict, "strict-config", false, "refuse a file with unknown or repeated fields; without it they are left out with a warning, as in kube-proxy")
	f.add(fs, func(*spec) bool { return true })
	for name, bare := range ignoredFlags {
		s := &spec{name: name, bare: bare, usage: "ignored"}
		f.addOne(fs, s, name, "")
		_ = fs.MarkHidden(name)
	}
}

// AddImages adds only the flags of the prefixes of mapped addresses.
func (f *Flags) AddImages(fs *pflag.FlagSet) {
	f.add(fs, func(s *spec) bool { return strings.HasPrefix(s.path, "imagePrefixes.") })
}

func (f *Flags) add(fs *pflag.FlagSet, wanted func(*spec) bool) {
	for i := range specs {
		s := &specs[i]
		if !wanted(s) {
			continue
		}
		def := ""
		if v := defaultFields()[s.path]; s.set == nil && !v.IsZero() {
			def = plain(v)
		}
		f.addOne(fs, s, s.name, def)
		for _, alias := range s.aliases {
			same := *s
			same.usage, same.short = "the same as --"+s.name, ""
			f.addOne(fs, &same, alias, "")
			fs.Lookup(alias).Value.(*value).spec = s
		}
	}
}

func (f *Flags) addOne(fs *pflag.FlagSet, s *spec, name, def string) {
	v := &value{flags: f, spec: s, name: name, text: def}
	flag := fs.VarPF(v, name, s.short, s.usage)
	flag.NoOptDefVal = s.bare
	if v.Type() == "bool" && s.bare == "" {
		flag.NoOptDefVal = "true"
	}
}

// value is a flag for pflag. It accepts any text, so that Load returns the errors of all flags at once.
type value struct {
	flags *Flags
	spec  *spec
	name  string
	text  string // the default, or what was given
	given bool
}

func (v *value) String() string { return v.text }

func (v *value) Set(text string) error {
	v.flags.given = append(v.flags.given, given{v.spec, v.name, text})
	if v.given && v.isList() {
		text = v.text + "," + text
	}
	v.text, v.given = text, true
	return nil
}

// isList reports whether repeated flags count together; of others the last one counts.
func (v *value) isList() bool {
	field := defaultFields()[v.spec.path]
	return v.spec.joins || field.IsValid() && (field.Kind() == reflect.Slice || field.Kind() == reflect.Map)
}

func (v *value) Type() string {
	field, ok := defaultFields()[v.spec.path]
	switch {
	case !ok:
		return "string"
	case v.spec.kind != "":
		return v.spec.kind
	}
	t := field.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == duration:
		return "duration"
	case t.Kind() == reflect.Slice:
		return "strings"
	case t.Kind() == reflect.Map:
		return "NAME=bool,..."
	case t.Kind() == reflect.Int32, t.Kind() == reflect.Uint32:
		return "int"
	}
	return t.Kind().String()
}

// Choices returns the values that the flag takes, or nil if these are not some words.
func (v *value) Choices() []string { return v.spec.choices }

// problem returns the error of a value, in the flag's syntax.
func (s *spec) problem(text string) error {
	switch {
	case s.check != nil:
		return s.check(text)
	case s.choices != nil:
		return OneOf(s.choices, text)
	}
	return nil
}

// apply puts the flags over the file and the defaults.
func (l *layers) apply(flags []given) {
	before := map[string]given{}
	flags = slices.Clone(flags)
	slices.SortStableFunc(flags, func(a, b given) int { return order(a) - order(b) })
	for _, g := range flags {
		if g.spec.path == "" {
			l.warnings = append(l.warnings, fmt.Sprintf("--%s: it is ignored: %s", g.name, ignoredReason(g.name)))
			continue
		}
		if g.spec.old != "" {
			l.warnings = append(l.warnings, fmt.Sprintf("--%s: %s", g.name, g.spec.old))
		}
		old, more := before[g.spec.path]
		if more = more && g.spec == old.spec; more && g.name != old.name {
			if g.text != old.text {
				l.errs = append(l.errs, fmt.Errorf("--%s: %q contradicts --%s %q: the two are the same flag", g.name, g.text, old.name, old.text))
			}
			continue
		}
		l.set(g, more)
		before[g.spec.path] = g
	}
}

func order(g given) int {
	if g.spec.late {
		return 1
	}
	return 0
}

// set puts one flag into its field.
func (l *layers) set(g given, more bool) {
	field, set := l.fields[g.spec.path], g.spec.set
	if set == nil {
		set = func(_ *layers, v reflect.Value, text string) error {
			return setText(v, text, g.spec.joins || v.Kind() == reflect.Slice && !g.spec.whole, more)
		}
	}
	if err := set(l, field, g.text); err != nil {
		l.errs = append(l.errs, fmt.Errorf("--%s: %w", g.name, err))
	}
	l.origins[g.spec.path] = origin{"flag --" + g.name, "--" + g.name}
	if w := classes[g.spec.path].warning("--"+g.name, field); w != "" {
		l.warnings = append(l.warnings, w)
	}
}

// specOf returns the flag that sets a field, or nil.
func specOf(path string) *spec {
	for i := range specs {
		if specs[i].path == path {
			return &specs[i]
		}
	}
	return nil
}

// flagOf returns the name of the flag that sets a field, or else the field.
func flagOf(path string) string {
	if s := specOf(path); s != nil {
		return "--" + s.name
	}
	return path
}

// plain returns a value in the flag's syntax.
func plain(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Pointer:
		return "" // not given, and that is the default
	case v.Type() == duration:
		return v.Field(0).Interface().(fmt.Stringer).String()
	case v.Kind() == reflect.Slice || v.Kind() == reflect.Map:
		return "" // no list has a default
	}
	return fmt.Sprint(v.Interface())
}

// JoinVerbosity turns "-v 4" and "-v4" into "-v=4". pflag takes no value from the next argument, since -v
// may stand alone.
func JoinVerbosity(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(out, args[i:]...)
		}
		if rest, ok := strings.CutPrefix(a, "-v"); ok && isNumber(rest) {
			a = "-v=" + rest
		} else if (a == "-v" || a == "--v") && i+1 < len(args) && isNumber(args[i+1]) {
			i++
			a = "-v=" + args[i]
		}
		out = append(out, a)
	}
	return out
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}
