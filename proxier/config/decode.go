package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/kube-proxy/config/v1alpha1"

	"kube-ipvs/proxier/spelling"
)

// MaxSize is how many bytes a configuration may have: its file, which bounds memory if the path is
// wrong, and what WriteJSON writes, which another process may ask for.
const MaxSize = 4 << 20

// readFile puts the values of a file over the defaults, and returns the file's digest.
func (l *layers) readFile(path string) Digest {
	data, err := readAll(path)
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("the configuration file: %w", err))
		return Digest{}
	}
	l.decode(path, data)
	return digest(data)
}

func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, MaxSize)
	}
	return data, err
}

// decode decodes all documents of a file. It accepts any data, and notes faults as errors.
func (l *layers) decode(path string, data []byte) {
	d := decoder{layers: l, path: path, seen: map[string]int{}}
	for dec := yaml.NewDecoder(bytes.NewReader(fromJSON(data))); ; {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			if d.number == 0 { // a truncated file must not mean all defaults
				l.errs = append(l.errs, fmt.Errorf("%s: it holds no document", path))
			}
			return
		}
		d.number++
		if err != nil {
			d.malformed(err, data)
			return
		}
		d.document(&node)
	}
}

// malformed notes a syntax error. After the document that kube-proxy reads it is only a warning,
// unless the rest may have the document of kube-ipvs.
func (d *decoder) malformed(err error, data []byte) {
	err = fmt.Errorf("%s, document %d: malformed: %w", d.path, d.number, err)
	if !d.behind() || d.seen[ownKind] == 0 && bytes.Contains(data, []byte(ownGroup)) {
		d.errs = append(d.errs, err)
		return
	}
	text := err.Error()
	if !d.strict {
		text += "; this document and those after it are left out"
	}
	d.oddities(text)
}

// fromJSON turns a stream of JSON values into YAML documents, and returns other data as it is. YAML
// refuses some white space of JSON, and needs separators.
func fromJSON(data []byte) []byte {
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || trimmed[0] != '{' {
		return data
	}
	var out bytes.Buffer
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var doc json.RawMessage
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out.Bytes()
		}
		out.WriteString("---\n")
		var compact bytes.Buffer
		if err != nil || json.Compact(&compact, doc) != nil {
			return data
		}
		out.WriteString(escape(compact.String()) + "\n")
	}
}

// escape replaces characters that JSON allows in a string, and YAML does not or takes for the end of a
// line, by JSON's escapes, which YAML knows.
func escape(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// decoder decodes one file.
type decoder struct {
	*layers
	path   string
	number int            // of the document
	seen   map[string]int // number of the document, by kind
	merges int            // merge keys so far
}

func (d *decoder) fail(n *yaml.Node, field, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s: %s", d.place(n, field), fmt.Sprintf(format, args...)))
}

func (d *decoder) place(n *yaml.Node, field string) string {
	at := fmt.Sprintf("%s, document %d, line %d", d.path, d.number, n.Line)
	if field != "" {
		at += ": " + field
	}
	return at
}

// odd notes a fault that kube-proxy ignores, and what kube-ipvs does with the value: a warning, or an
// error with --strict-config.
func (d *decoder) odd(n *yaml.Node, field, done, format string, args ...any) {
	text := fmt.Sprintf("%s: %s", d.place(n, field), fmt.Sprintf(format, args...))
	if done != "" && !d.strict {
		text += "; " + done
	}
	d.oddities(text)
}

// behind reports whether kube-proxy's document was decoded: kube-proxy reads none of the documents after
// it.
func (d *decoder) behind() bool { return d.seen[proxyKind] > 0 }

// head returns kind and apiVersion of a document.
func head(n *yaml.Node) (kind, version string) {
	quiet := decoder{layers: &layers{}} // mapping reads the fields again, and notes faults
	for _, p := range quiet.pairs(n, "") {
		switch p.key.Value {
		case "kind":
			kind = resolve(p.value).Value
		case "apiVersion":
			version = resolve(p.value).Value
		}
	}
	return kind, version
}

func (d *decoder) document(n *yaml.Node) {
	if n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	if isNull(n) {
		d.number-- // an empty document does not count
		return
	}
	if n.Kind != yaml.MappingNode {
		const what = "it is %s and not a document with apiVersion and kind"
		if d.behind() {
			d.odd(n, "", "it is left out", what, kindOf(n))
		} else {
			d.fail(n, "", what, kindOf(n))
		}
		return
	}
	kind, version := head(n)
	group, _, _ := strings.Cut(version, "/")
	want, ok := map[string]string{proxyKind: proxyVersion, ownKind: ownVersion}[kind]
	switch {
	case !ok && group != ownGroup && (d.behind() || d.number > 1 && group != v1alpha1.GroupName):
		d.odd(n, "kind", "the document is left out", "%q is neither %s nor %s", kind, proxyKind, ownKind)
	case kind == proxyKind && version != want && group != ownGroup && d.behind():
		d.odd(n, "apiVersion", "the document is left out", "%q is not %s", version, want)
	case !ok:
		d.fail(n, "kind", "%q is neither %s nor %s", kind, proxyKind, ownKind)
	case version != want:
		d.fail(n, "apiVersion", "%q is not %s, which a %s must have", version, want, kind)
	case d.seen[kind] > 0:
		d.odd(n, "kind", "this one is left out", "document %d is a %s already", d.seen[kind], kind)
	default:
		d.seen[kind] = d.number
		d.mapping(n, kind, d.docs.document(kind), "")
	}
}

// mapping decodes the fields of a struct.
func (d *decoder) mapping(n *yaml.Node, kind string, v reflect.Value, prefix string) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		if !isNull(n) {
			d.fail(n, prefix, "%s is not a group of fields", show(n))
		}
		return
	}
	for _, p := range d.pairs(n, prefix) {
		path := join(prefix, p.key.Value)
		field, ok := child(v, p.key.Value)
		switch {
		case !ok:
			d.unknown(p.key, v, path)
		case prefix == "" && (p.key.Value == "kind" || p.key.Value == "apiVersion"):
		case isLeaf(field.Type()):
			d.leaf(p.value, kind, field, path)
		default:
			d.mapping(p.value, kind, field, path)
		}
	}
}

// pair is a field and its value.
type pair struct{ key, value *yaml.Node }

// pairs returns the fields of a mapping. As in kube-proxy, the last one of repeated fields counts, and
// fields of a merge key (<<) count only if the mapping does not have them.
func (d *decoder) pairs(n *yaml.Node, prefix string) []pair {
	var out, merged []pair
	at := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		p := pair{n.Content[i], n.Content[i+1]}
		before, twice := at[p.key.Value]
		switch {
		case p.key.Kind != yaml.ScalarNode:
			d.fail(p.key, prefix, "a key is %s", kindOf(p.key))
		case p.key.Tag == "!!merge":
			merged = append(merged, d.merged(p.value, prefix)...)
		case twice:
			d.odd(p.key, join(prefix, p.key.Value), "this one counts", "given twice, before in line %d", out[before].key.Line)
			out[before] = p
		default:
			at[p.key.Value] = len(out)
			out = append(out, p)
		}
	}
	for _, p := range merged {
		if _, given := at[p.key.Value]; !given {
			at[p.key.Value] = len(out)
			out = append(out, p)
		}
	}
	return out
}

// merged returns the fields of a merge key: those of a mapping, or of several mappings, of which the
// first has precedence.
func (d *decoder) merged(n *yaml.Node, prefix string) []pair {
	const most = 100 // a mapping can merge itself
	n = resolve(n)
	d.merges++
	switch {
	case d.merges == most+1:
		d.fail(n, prefix, "more than %d merge keys", most)
		return nil
	case d.merges > most:
		return nil
	case n.Kind == yaml.MappingNode:
		return d.pairs(n, prefix)
	case n.Kind == yaml.SequenceNode:
		var out []pair
		for _, of := range n.Content {
			if of = resolve(of); of.Kind == yaml.MappingNode {
				out = append(out, d.pairs(of, prefix)...)
			}
		}
		return out
	}
	d.fail(n, prefix, "%s cannot be merged", show(n))
	return nil
}

// resolve returns the target of an alias, or n itself.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// oldFields has the former fields of kube-proxy's v1alpha1, and the settings that count now.
var oldFields = map[string]string{
	"resourceContainer": "the container's own limits count", "udpIdleTimeout": "ipvs.udpTimeout counts",
	"conntrack.max": "conntrack.maxPerCore and conntrack.min count",
}

func (d *decoder) unknown(key *yaml.Node, v reflect.Value, path string) {
	if now, old := oldFields[path]; old {
		d.odd(key, path, "", "a field of old versions of kube-proxy; it has no effect: %s", now)
		return
	}
	d.odd(key, path, "it is left out", "unknown field%s", spelling.Meant(key.Value, "", slices.Values(names(v))))
}

// leaf decodes one value. As in kube-proxy, null, and the empty value of a type without null, mean that
// the field is not given; kubeadm writes many of these.
func (d *decoder) leaf(n *yaml.Node, kind string, field reflect.Value, path string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	var got reflect.Value
	var err error
	if field.Kind() == reflect.Map && n.Kind == yaml.MappingNode {
		got = reflect.ValueOf(d.switches(n, path))
	} else if got, err = valueOf(n, field.Type()); err != nil {
		d.fail(n, path, "%s is not %s", show(n), wanted(field.Type()))
		return
	}
	empty := got.IsZero() || (got.Kind() == reflect.Slice || got.Kind() == reflect.Map) && got.Len() == 0
	scalar := got.Kind() != reflect.String && got.Kind() != reflect.Slice
	if empty && got.Kind() != reflect.Bool && (kind == proxyKind || !scalar) {
		return
	}
	field.Set(got)
	d.origins[path] = origin{"file " + d.path, d.place(n, path)}
	if kind == proxyKind {
		if w := classes[path].warning(d.place(n, path), field); w != "" {
			d.warnings = append(d.warnings, w)
		}
	}
}
