package source

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kube-ipvs/proxier/model"
)

// keeps ends the message about an unusable document.
const keeps = "it is left out, and the file's last usable content stays in force"

// ref names an object.
type ref struct{ kind, namespace, name string }

func (r ref) String() string {
	if r.namespace == "" {
		return r.kind + " " + r.name
	}
	return r.kind + " " + r.namespace + "/" + r.name
}

// compare orders refs by kind, namespace and name.
func (r ref) compare(o ref) int {
	return cmp.Or(cmp.Compare(r.kind, o.kind), cmp.Compare(r.namespace, o.namespace), cmp.Compare(r.name, o.name))
}

// object is an object of a file, with the event that delivers it.
type object struct {
	ref   ref
	event Event
}

// parser collects the objects and problems of a file.
type parser struct {
	objects  []object
	problems []model.Problem
	bad      bool // a document is unusable, so that objects may be missing
}

// parse parses a whole manifest. It accepts any data, and reports faults as problems.
func parse(path string, data []byte) *parser {
	p := &parser{}
	n := 0
	for before, doc := range documents(data) {
		n++
		origin := fmt.Sprintf("%s, document %d", path, n)
		out, doubles, err := toJSON(doc)
		if err != nil {
			p.fail(origin, "", "", "malformed: "+absolute(err.Error(), before))
			continue
		}
		said := len(p.problems)
		if name, ours := p.item(origin, out, schema.GroupVersionKind{}, true); ours && doubles != nil {
			p.problems = append(p.problems[:said:said], append(doubled(origin, name, doubles, before), p.problems[said:]...)...)
		}
	}
	return p
}

// item parses one object, or a list if lists is set. usual is the kind of an object without one. ours is
// false for kinds that kube-ipvs does not read.
func (p *parser) item(origin string, data []byte, usual schema.GroupVersionKind, lists bool) (name string, ours bool) {
	head, err := peek(data, usual)
	if err != nil {
		p.fail(origin, "", "", err.Error())
		return "", true
	}
	gv, ours := known[head.kind]
	if !ours || elsewhere(head.apiVersion) {
		return "", false
	}
	name = head.object()
	list := strings.HasSuffix(head.kind, "List")
	switch {
	case head.apiVersion != gv.String():
		p.fail(origin, name, "apiVersion", fmt.Sprintf("%s of kind %s is unknown; kube-ipvs reads %s", head.apiVersion, head.kind, gv))
		return name, true
	case list && !lists:
		p.fail(origin, name, "kind", "kube-ipvs does not read a list within a list")
		return name, true
	}
	kind := gv.WithKind(head.kind)
	obj, _, err := decoder.Decode(data, &kind, nil)
	if err != nil && !runtime.IsStrictDecodingError(err) {
		field, what := misfit(data, kind, err)
		p.fail(origin, name, field, what)
		return name, true
	}
	p.strict(origin, name, err)
	if list {
		p.list(origin, obj.(*corev1.List), head.kind)
		return name, true
	}
	p.add(origin, obj)
	return name, true
}

func (p *parser) list(origin string, l *corev1.List, kind string) {
	var usual schema.GroupVersionKind
	if kind != "List" {
		usual = known[kind].WithKind(strings.TrimSuffix(kind, "List"))
	}
	for i, item := range l.Items {
		p.item(fmt.Sprintf("%s, item %d", origin, i+1), item.Raw, usual, false)
	}
}

// add takes a decoded object.
func (p *parser) add(origin string, obj runtime.Object) {
	e := Event{Origin: origin}
	var meta *metav1.ObjectMeta
	var kind string
	switch obj := obj.(type) {
	case *corev1.Service:
		meta, kind, e.Service = &obj.ObjectMeta, "Service", obj
	case *discoveryv1.EndpointSlice:
		meta, kind, e.Slice = &obj.ObjectMeta, "EndpointSlice", obj
	case *node:
		n, err := obj.node()
		if err != nil {
			p.note(origin, "Node "+n.Name, "status", err.Error()+"; its wrong fields are ignored")
		}
		meta, kind, e.Node = &n.ObjectMeta, "Node", n
	}
	if meta.Name == "" {
		p.fail(origin, kind, "metadata.name", "there is no name")
		return
	}
	if e.Node != nil {
		meta.Namespace = ""
	} else if meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	switch {
	case e.Service != nil:
		model.Default(e.Service)
	case e.Slice != nil:
		model.DefaultSlice(e.Slice)
	}
	p.objects = append(p.objects, object{ref{kind, meta.Namespace, meta.Name}, e})
}

func (p *parser) note(origin, object, field, message string) {
	p.problems = append(p.problems, model.Problem{Origin: origin, Object: object, Field: field, Message: message})
}

func (p *parser) fail(origin, object, field, message string) {
	p.bad = true
	p.note(origin, object, field, message+"; "+keeps)
}

var notStrict = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)

// strict notes every unknown and every repeated field.
func (p *parser) strict(origin, object string, err error) {
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return
	}
	for _, err := range strict.Errors() {
		m := notStrict.FindStringSubmatch(err.Error())
		switch {
		case m == nil:
			p.note(origin, object, "", err.Error()+"; the rest is used")
		case m[1] == "unknown":
			p.note(origin, object, m[2], "unknown field; it is ignored")
		default:
			p.note(origin, object, m[2], "duplicate field; the last one counts")
		}
	}
}

var doubleKey = regexp.MustCompile(`line \d+: key "(.*)" already set in map`)

// doubled returns the problems about repeated keys in a YAML document.
func doubled(origin, object string, err error, before int) (out []model.Problem) {
	for line := range strings.Lines(err.Error()) {
		if m := doubleKey.FindStringSubmatch(line); m != nil {
			out = append(out, model.Problem{Origin: origin, Object: object, Field: m[1],
				Message: absolute(m[0], before) + "; the last one counts"})
		}
	}
	return out
}

// head has the fields of an object that are needed before it is decoded.
type head struct{ apiVersion, kind, namespace, name string }

func (h head) object() string {
	if h.name == "" || strings.HasSuffix(h.kind, "List") {
		return h.kind
	}
	if h.namespace == "" && h.kind != "Node" {
		h.namespace = metav1.NamespaceDefault
	}
	return ref{h.kind, h.namespace, h.name}.String()
}

func peek(data []byte, usual schema.GroupVersionKind) (h head, err error) {
	var top map[string]json.RawMessage
	if json.Unmarshal(data, &top) != nil || top == nil {
		return h, fmt.Errorf("%.40q is not an object with apiVersion and kind", data)
	}
	h.apiVersion, h.kind = text(top["apiVersion"]), text(top["kind"])
	if h.apiVersion == "" && h.kind == "" && usual.Kind != "" {
		h.apiVersion, h.kind = usual.GroupVersion().String(), usual.Kind
	}
	switch {
	case h.kind == "":
		return h, fmt.Errorf("there is no kind")
	case h.apiVersion == "":
		return h, fmt.Errorf("there is no apiVersion in this %.40s", h.kind)
	}
	var meta map[string]json.RawMessage
	if json.Unmarshal(top["metadata"], &meta) == nil {
		h.namespace, h.name = text(meta["namespace"]), text(meta["name"])
	}
	return h, nil
}

// text returns the text of a JSON string, and "" for other values.
func text(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
