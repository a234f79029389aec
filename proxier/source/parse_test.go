package source

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	sliceJSON = `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"web-1","namespace":"prod"},
	"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":8080}]}`
	nodeYAML = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: odd, labels: {topology.kubernetes.io/zone: za}}\n" +
		"status:\n  addresses: [{type: InternalIP, address: 192.0.2.1}]\n  capacity: {cpu: 1e-999999999}\n"
)

func found(p *parser) string {
	var all []string
	for _, o := range p.objects {
		all = append(all, o.ref.String())
	}
	return strings.Join(all, ", ")
}

func said(p *parser) string {
	var all []string
	for _, problem := range p.problems {
		all = append(all, problem.String())
	}
	return strings.Join(all, "\n")
}

func TestParse(t *testing.T) {
	const a, ab = "Service default/a", "Service default/a, Service default/b"
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {anything: [1, 2]}\n"
	for _, tt := range []struct{ name, in, want string }{
		{"one", svc("a", 80), a},
		{"two", docs(svc("a", 80), svc("b", 80)), ab},
		{"empty", "", ""},
		{"only comments", "# nothing\n---\n# here\n---\n", ""},
		{"byte order mark", "\uFEFF" + svc("a", 80), a},
		{"byte order mark and JSON", "\uFEFF{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"}}", a},
		{"CRLF", strings.ReplaceAll(docs(svc("a", 80), svc("b", 80)), "\n", "\r\n"), ab},
		{"CR", strings.ReplaceAll(docs(svc("a", 80), svc("b", 80)), "\n", "\r"), ab},
		{"no line feed at the end", strings.TrimSpace(svc("a", 80)), a},
		{"marker with comment", svc("a", 80) + "--- # b\n" + svc("b", 80), ab},
		{"marker with space", "---  \n" + svc("a", 80) + "--- \t\n" + svc("b", 80), ab},
		{"marker with content", svc("a", 80) + "--- {apiVersion: v1, kind: Service, metadata: {name: b}}\n", ab},
		{"end marker", svc("a", 80) + "...\n---\n" + svc("b", 80) + "...\n", ab},
		{"directive", "%YAML 1.1\n---\n" + svc("a", 80), a},
		{"no marker", "----\n" + svc("a", 80), "?"},
		{"JSON with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"a\"}\n}", a},
		{"slice", sliceJSON, "EndpointSlice prod/web-1"},
		{"node", nodeYAML, "Node n1"},
		{"other kinds", docs(deployment, svc("a", 80), "apiVersion: v1\nkind: ConfigMap\ndata: {x: 5}\n"), a},
		{"same kind elsewhere", "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: k}\n", ""},
		{"list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {apiVersion: apps/v1, kind: Deployment}\n- " + strings.ReplaceAll(sliceJSON, "\n\t", ""), a + ", EndpointSlice prod/web-1"},
		{"service list", `{"apiVersion":"v1","kind":"ServiceList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`, ab},
		{"slice list", `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSliceList","items":[` + sliceJSON + `]}`, "EndpointSlice prod/web-1"},
		{"empty list", "apiVersion: v1\nkind: List\nitems: []\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parse("f.yaml", []byte(tt.in))
			if tt.want == "?" {
				if !p.bad {
					t.Error("taken for good")
				}
				return
			}
			if got := found(p); got != tt.want || p.bad || len(p.problems) > 0 {
				t.Errorf("got %q, want %q; problems %s", got, tt.want, said(p))
			}
		})
	}
}

// Every bad input is told with file, document, object and field, and takes
// nothing else with it.
func TestParseProblems(t *testing.T) {
	const good = "Service default/good"
	for _, tt := range []struct{ name, in, want, problem string }{
		{"malformed", "kind: [Service\n", "", "f.yaml, document 1: malformed: "},
		{"line number", "kind: Service\nx: [\n", "", "line 11"},
		{"garbage", "\x00\x01\xfe\xff\x80", "", "not UTF-8"},
		{"control characters", "a: \x01\n", "", "malformed: "},
		{"scalar", "hello\n", "", "not an object with apiVersion and kind"},
		{"array", "- a\n", "", "not an object"},
		{"null", "null\n", "", "not an object"},
		{"no kind", "apiVersion: v1\nmetadata: {name: a}\n", "", "there is no kind"},
		{"kind is a number", "apiVersion: v1\nkind: 5\n", "", "there is no kind"},
		{"no apiVersion", "kind: Service\n", "", "there is no apiVersion in this Service"},
		{"old slice", "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: x}\n", "", "EndpointSlice default/x: apiVersion: discovery.k8s.io/v1beta1 of kind EndpointSlice is unknown; kube-ipvs reads discovery.k8s.io/v1;"},
		{"slice of v1", "apiVersion: v1\nkind: EndpointSlice\nmetadata: {name: x}\n", "", "kube-ipvs reads discovery.k8s.io/v1;"},
		{"service of apps/v1", "apiVersion: apps/v1\nkind: Service\nmetadata: {name: x}\n", "", "Service default/x: apiVersion: "},
		{"no name", "apiVersion: v1\nkind: Service\n", "", "document 1: Service: metadata.name: there is no name"},
		{"port is text", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}\n", "", `document 1: Service default/x: spec.ports[0].port: a whole number of up to 32 bits is expected, and "http" is text; `},
		{"port in quotes", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{name: a, port: 80}, {name: b, port: 81, nodePort: '30081'}]}\n", "", `spec.ports[1].nodePort: a whole number of up to 32 bits is expected, and "30081" is text; `},
		{"target port is a list", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 80, targetPort: [8080]}]}\n", "", "Service default/x: spec.ports[0].targetPort: "},
		{"label is a number", "apiVersion: v1\nkind: Service\nmetadata: {name: x, labels: {a: b, c: 5}}\n", "", "metadata.labels.c: text is expected, and 5 is a number; "},
		{"condition is text", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\nendpoints: [{}, {conditions: {ready: 'no'}}]\n", "", `endpoints[1].conditions.ready: true or false is expected, and "no" is text; `},
		{"address is a flag", "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\nendpoints: [{addresses: [a, no]}]\n", "", "endpoints[0].addresses[1]: text is expected, and false is not; "},
		{"no list", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: {port: 80}}\n", "", "spec.ports: a list is expected, and this is a set of fields; "},
		{"time is text", "apiVersion: v1\nkind: Service\nmetadata: {name: x, creationTimestamp: soon}\n", "", "Service default/x: parsing time"},
		{"port is huge", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999999999}]}\n", "", "Service default/x: spec.ports[0].port: a whole number of up to 32 bits is expected, and 99999999999 is a number; "},
		{"spec is a list", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: []\n", "", "Service default/x: spec: a set of fields is expected, and this is a list; "},
		{"list in list", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]\n", "", "item 1: List: kind: kube-ipvs does not read a list within a list"},
		{"list of text", "apiVersion: v1\nkind: List\nitems: [hello]\n", "", "item 1: \"\\\"hello\\\"\" is not an object"},
		{"one bad item", "apiVersion: v1\nkind: List\nitems: [{kind: Service}, {apiVersion: v1, kind: Service, metadata: {name: x}}]\n", "Service default/x", "document 1, item 1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			alone := parse("f.yaml", []byte(tt.in))
			if !alone.bad || found(alone) != tt.want {
				t.Errorf("bad is %v, found %q", alone.bad, found(alone))
			}
			p := parse("f.yaml", []byte(docs(svc("good", 80), tt.in)))
			if want := strings.Trim(good+", "+tt.want, ", "); !p.bad || found(p) != want {
				t.Errorf("after another: bad is %v, found %q", p.bad, found(p))
			}
			told := said(alone)
			if strings.HasPrefix(tt.problem, "line ") {
				told = said(p)
			}
			if len(alone.problems) != 1 || !strings.Contains(told, tt.problem) || !strings.HasSuffix(told, "; "+keeps) {
				t.Errorf("problems %s\nwant %q", told, tt.problem)
			}
		})
	}
}

// What is not strictly right is told and used.
func TestParseNotStrict(t *testing.T) {
	head := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
	for _, tt := range []struct{ name, in, problem string }{
		{"unknown field", head + "spec: {cluserIP: 10.0.0.1}\n", "f.yaml, document 1: Service default/a: spec.cluserIP: unknown field; it is ignored"},
		{"unknown field of a port", head + "spec: {ports: [{port: 80, targetport: 1}]}\n", "spec.ports[0].targetport: unknown field"},
		{"unknown field at the top", head + "sepc: {}\n", "Service default/a: sepc: unknown field"},
		{"wrong case", head + "Spec: {}\n", "Service default/a: Spec: unknown field"},
		{"duplicate key", head + "spec:\n  type: ClusterIP\n  type: NodePort\n", `Service default/a: type: line 6: key "type" already set in map; the last one counts`},
		{"duplicate in JSON", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","name":"a"}}`, "Service default/a: metadata.name: duplicate field; the last one counts"},
		{"unknown field of a list", "apiVersion: v1\nkind: List\nitem: []\nitems: [{apiVersion: v1, kind: Service, metadata: {name: a}}]\n", "List: item: unknown field"},
		{"unknown field of an item", "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Service, metadata: {name: a, nam: b}}]\n", "document 1, item 1: Service default/a: metadata.nam: unknown field"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parse("f.yaml", []byte(tt.in))
			if p.bad || found(p) != "Service default/a" {
				t.Errorf("bad is %v, found %q", p.bad, found(p))
			}
			if len(p.problems) != 1 || !strings.Contains(said(p), tt.problem) {
				t.Errorf("problems %s\nwant %q", said(p), tt.problem)
			}
		})
	}
	if p := parse("f.yaml", []byte("apiVersion: apps/v1\nkind: Deployment\nx: 1\nx: 2\n")); len(p.problems) != 0 {
		t.Errorf("other kinds are none of ours: %s", said(p))
	}
}

func TestParsedObjectsAreDefaulted(t *testing.T) {
	p := parse("f.yaml", []byte(docs(svc("a", 80), sliceJSON+"\n", nodeYAML)))
	if len(p.objects) != 3 || p.bad {
		t.Fatalf("found %q, problems %s", found(p), said(p))
	}
	s, es, n := p.objects[0].event.Service, p.objects[1].event.Slice, p.objects[2].event.Node
	if s.Spec.Ports[0].Protocol != corev1.ProtocolTCP || s.Spec.ClusterIPs[0] != "10.96.0.10" || s.Namespace != "default" {
		t.Errorf("service %+v", s.Spec)
	}
	if es.Ports[0].Name == nil || *es.Ports[0].Protocol != corev1.ProtocolTCP {
		t.Errorf("slice ports %+v", es.Ports)
	}
	if n.Labels[corev1.LabelTopologyZone] != "za" || n.Status.Addresses[0].Address != "192.0.2.1" || n.Namespace != "" {
		t.Errorf("node %+v", n)
	}
	for i, o := range p.objects {
		if want := "f.yaml, document " + string(rune('1'+i)); o.event.Origin != want {
			t.Errorf("origin %q, want %q", o.event.Origin, want)
		}
	}
}

// An alias bomb must end in an error, not in all memory.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 12 {
		n, last := string(rune('b'+i)), "a0"
		if i > 0 {
			last = string(rune('a' + i))
		}
		b.WriteString(n + ": &" + n + " [" + strings.TrimSuffix(strings.Repeat("*"+last+",", 9), ",") + "]\n")
	}
	start := time.Now()
	if p := parse("f.yaml", []byte(b.String())); !p.bad {
		t.Error("taken for good")
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzManifest(f *testing.F) {
	for _, seed := range []string{svc("a", 80), sliceJSON, nodeYAML, "\uFEFF---\r\n...\n%\n# x", "{}", "- &a [*a]", "? {a: b}\n: c", "1: 2\n.inf: x\n<<: {a: b}\n",
		"apiVersion: v1\nkind: List\nitems: [{}, null, 5]\n", "!!binary x: y", "apiVersion: v1\nkind: Service\nmetadata: {name: a, creationTimestamp: x}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		p := parse("f", data)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
		if p.bad && len(p.problems) == 0 {
			t.Error("bad without a problem")
		}
		for _, o := range p.objects {
			if o.ref.name == "" || refOf(o.event) != o.ref {
				t.Errorf("object %v of event %+v", o.ref, o.event)
			}
		}
	})
}
