package explain

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

const webManifest = `apiVersion: v1
kind: Service
metadata: {namespace: default, name: web}
spec:
  clusterIP: 10.96.0.10
  ports: [{port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: ["10.244.0.11"], nodeName: n1}
`

func webNode(t *testing.T, change func(*desired.Config)) *Node {
	m := model.New(model.Node{Name: "n1"})
	load(t, m, webManifest)
	c := config(desired.Image)
	if change != nil {
		change(&c)
	}
	n := newNode(c, m)
	n.compare(t)
	return n
}

func wayFrom(t *testing.T, n *Node, from string) Way {
	t.Helper()
	return mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.MustParseAddr(from)).Frontends[0].Ways[0]
}

// An endpoint says why it takes less than its full part, and its limit.
func TestBalance(t *testing.T) {
	n := webNode(t, nil)
	web := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.96.0.10:80"))
	real := state.RealServerID(web, netip.MustParseAddrPort("10.244.0.11:8080"))
	for _, c := range []struct {
		has     state.Spec
		reduced state.Reduced
		want    string
		json    string
	}{
		{state.Spec{Weight: 1}, state.Reduced{}, `weight 1 +chosen: +ready$`, `"weight":1,"connections":5}`},
		{state.Spec{}, state.Reduced{real: state.ZeroWeight}, `weight 0 +chosen: +ready; a weight rule gives it no new connections$`, `"standing":"zero_weight"`},
		{state.Spec{}, state.Reduced{real: state.SlowStart}, `weight 0 +chosen: +ready; its weight rises \(slow start\)$`, `"standing":"slow_start"`},
		{state.Spec{Weight: 7}, state.Reduced{real: state.SlowStart}, `weight 7 +chosen: +ready; its weight rises \(slow start\)$`, `"standing":"slow_start"`},
		{state.Spec{Weight: 2, Upper: 9}, state.Reduced{}, `weight 2, at most 9 connections +chosen: +ready$`, `"limit":9}`},
		{state.Spec{Weight: 2, Upper: 5}, state.Reduced{}, `chosen: +ready; it gets no new connections: it has 5, and may have 5$`, `"limit":5,"standing":"at_limit"`},
		{state.Spec{}, state.Reduced{real: state.Ejected}, `weight 0 +chosen: +ready; ejected, since it does not answer$`, `"standing":"ejected"`},
	} {
		n.Actual.Put(real, state.Intern(c.has))
		n.Reduced, n.Conns = c.reduced, map[state.ID]uint32{real: 5}
		e := mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.Addr{})
		var out strings.Builder
		e.Print(&out)
		if !regexp.MustCompile(`(?m)10\.244\.0\.11:8080 .*` + c.want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", c.want, out.String())
		}
		if b, err := json.Marshal(e); err != nil || !strings.Contains(string(b), c.json) {
			t.Errorf("no %s in\n%s", c.json, b)
		}
	}
}

// Behind a scheduler that counts, the weight does not tell whether an endpoint is ejected or begins
// slowly.
func TestEjectedOrNew(t *testing.T) {
	m := model.New(model.Node{Name: "n1"})
	load(t, m, strings.Replace(webManifest, "name: web}", "name: web, annotations: {kube-ipvs/eject-after: 3s, kube-ipvs/slow-start: 30s}}", 1))
	n := newNode(config(desired.Image), m)
	web := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.96.0.10:80"))
	real := state.RealServerID(web, netip.MustParseAddrPort("10.244.0.11:8080"))
	n.Actual.Put(real, state.Weight(0))
	n.Reduced = state.Reduced{real: state.Ejected}
	for scheduler, want := range map[string]string{"wrr": "ready; ejected, since it does not answer", "wlc": "ready; ejected, since it does not answer, or its weight rises (slow start)"} {
		n.Actual.Put(web, state.Intern(state.Spec{Scheduler: scheduler, Flags: state.FlagOurs}))
		n.compare(t)
		if e := mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.Addr{}).Frontends[0].Servers[0].Endpoints[0]; e.Why != want {
			t.Errorf("%s: %q, want %q", scheduler, e.Why, want)
		}
	}
}

// What could not be read is named, and not called as wanted.
func TestUnread(t *testing.T) {
	n := webNode(t, nil)
	n.Complete = false
	n.Problems = []model.Problem{
		{Origin: "a.yaml", Message: "cannot be read: permission denied"}, {Origin: "b.yaml, document 2", Object: "Service default/other", Message: "no"},
		{Origin: "c.yaml", Object: "Service default/web", Field: "spec.x", Message: "unknown field"},
	}
	var out strings.Builder
	e := mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.Addr{})
	e.Print(&out)
	end := out.String()[strings.LastIndex(out.String(), "Problem: "):]
	want := `Problem: c.yaml: Service default/web: spec.x: unknown field
Some objects cannot be read: until they can, kube-ipvs removes and refuses nothing.
  a.yaml: cannot be read: permission denied
  b.yaml, document 2: Service default/other: no
Wrong: c.yaml: Service default/web: spec.x: unknown field; some objects cannot be read. No object differs.
`
	if !e.AsDesired || end != want {
		t.Errorf("%s", end)
	}
}

// Whom the rules take for a pod decides, and that may hang on the link.
func TestPodsByLink(t *testing.T) {
	n := webNode(t, func(c *desired.Config) { c.PodCIDRs, c.PodInterface = [2]netip.Prefix{}, "cali+" })
	links := map[string]string{"10.244.0.11": "cali123", "10.244.1.12": "eth0", "192.168.50.9": "eth0"}
	n.LinkOf = func(a netip.Addr) string { return links[a.String()] }
	for from, want := range map[string]string{"10.244.0.11": "pod", "10.244.1.12": "outside yes", "192.168.50.9": "outside yes", "192.168.50.1": "node yes"} {
		w := wayFrom(t, n, from)
		got := w.Client.Kind
		if w.Client.Kind != FromPod { // which is the endpoint here
			got += " " + w.Masquerade
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%s)", from, got, want, w.MasqueradeWhy)
		}
	}
}

// If pods are not known, explain has no pods, and calls no client another than a pod.
func TestPodsUnknown(t *testing.T) {
	n := webNode(t, func(c *desired.Config) { c.PodCIDRs = [2]netip.Prefix{} })
	var out strings.Builder
	mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.Addr{}).Print(&out)
	for _, want := range []string{"any other client (pods cannot be told apart): the", "addresses of this family are not known"} {
		if text := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if w := wayFrom(t, n, "192.168.50.9"); w.Masquerade != "no" {
		t.Errorf("masquerade %s: %s", w.Masquerade, w.MasqueradeWhy)
	}
}

// explain names a foreign rule that it cannot judge, and does not guess. A foreign rule that it can judge
// counts.
func TestForeignRules(t *testing.T) {
	n := webNode(t, nil)
	first := "-A KIPVS-PRE -m conntrack --ctstatus CONFIRMED -j RETURN\n"
	n.Rules[0] = strings.Replace(n.Rules[0], first, first+"-A KIPVS-PRE -m statistic --mode random --probability 0.5 -j DROP\n", 1)
	n.compare(t)
	w := wayFrom(t, n, "192.168.50.9")
	if w.Outcome != Served || len(w.Unsure) != 1 || !strings.Contains(w.Unsure[0], "statistic") {
		t.Errorf("%s, unsure %q", w.Outcome, w.Unsure)
	}
	n.Rules[0] = strings.Replace(n.Rules[0], "-m statistic --mode random --probability 0.5", "-s 192.168.50.0/24", 1)
	n.compare(t)
	if w := wayFrom(t, n, "192.168.50.9"); w.Outcome != Dropped || !strings.Contains(w.Why, "-s 192.168.50.0/24") {
		t.Errorf("%s: %s", w.Outcome, w.Why)
	}
}

// A client that claims to be an image gets nowhere.
func TestForgedSource(t *testing.T) {
	w := wayFrom(t, webNode(t, nil), "240.168.50.201")
	if w.Outcome != Dropped || !strings.Contains(w.Why, "source is a mapped address") {
		t.Errorf("%s: %s", w.Outcome, w.Why)
	}
}

// Node ports at loopback addresses are relayed where that is asked for, and meet
// policies as the node's own.
func TestLoopback(t *testing.T) {
	for _, tt := range []struct {
		localhost          bool
		outcome, why, does string
	}{
		{false, ToHost, "nodePortAddresses says localhost", ""},
		{true, Served, "", "; the relay takes it, and dials 127.0.0.1:30080 itself, from 192.168.50.1"},
	} {
		m := model.New(model.Node{Name: "n1"})
		load(t, m, strings.Replace(webManifest, "ports: [{port: 80}]", "type: NodePort\n  ports: [{port: 80, nodePort: 30080}]", 1))
		c := config(desired.Image)
		c.Localhost = [2]bool{tt.localhost, tt.localhost}
		n := newNode(c, m)
		n.compare(t)
		all := mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.MustParseAddr("127.0.0.1")).Frontends
		f := all[slices.IndexFunc(all, func(f Frontend) bool { return f.Address == "*:30080" })]
		w, does := f.Ways[0], ""
		for _, s := range w.Steps {
			does += s.Does
		}
		if w.To != "127.0.0.1:30080/tcp" || w.Outcome != tt.outcome || !strings.Contains(w.Why, tt.why) || !strings.Contains(does, tt.does) || tt.localhost && w.Masquerade != "yes" {
			t.Errorf("localhost %t: %s: %s %s, masquerade %s: %s", tt.localhost, w.To, w.Outcome, w.Why, w.Masquerade, does)
		}
		for ask, says := range map[string]string{ // without --from
			"127.0.0.1:30080": "so the relay takes it, and dials 127.0.0.1:30080 itself, from 192.168.50.1.",
			"default/web":     "the relay serves clients at loopback addresses (--from 127.0.0.1)",
		} {
			var out strings.Builder
			q, _ := ParseQuery(ask)
			all, err := n.Explain(q, netip.Addr{})
			if err != nil || len(all) != 1 {
				t.Fatal(len(all), err)
			}
			all[0].Print(&out)
			if text := strings.Join(strings.Fields(out.String()), " "); strings.Contains(text, says) != tt.localhost {
				t.Errorf("localhost %t: %s says\n%s", tt.localhost, ask, out.String())
			}
		}
	}
}

// What is gone from the kernel changes the way that is told.
func TestBrokenWays(t *testing.T) {
	tests := []struct{ gone, from, outcome string }{
		{"virtual server 242.96.0.10:80/tcp", "10.244.0.12", ToHost},
		{"virtual server 242.96.0.10:80/tcp", "192.168.50.1", ToHost},
		{"real server 10.244.0.11:8080 of 242.96.0.10:80/tcp", "10.244.0.12", Refused},
		{"entry KIPVS-CLUSTER 10.96.0.10,tcp:80", "10.244.0.12", Refused}, // the guard
		{"route local 240.0.0.0/5", "10.244.0.12", Unroutable},
		{"entry KIPVS-HAIRPIN 10.244.0.11,tcp:8080,10.244.0.11", "10.244.0.11", Served},
	}
	for _, tt := range tests {
		n := webNode(t, nil)
		n.remove(t, tt.gone)
		n.compare(t)
		if w := wayFrom(t, n, tt.from); w.Outcome != tt.outcome {
			t.Errorf("%s, from %s: %s (%s), want %s", tt.gone, tt.from, w.Outcome, w.Why, tt.outcome)
		}
	}
	n := webNode(t, nil)
	n.Rules[0] = ""
	n.remove(t, "vip 10.96.0.10")
	if w := wayFrom(t, n, "10.244.0.12"); w.Outcome != PassedOn {
		t.Errorf("no rules, no address: %s (%s)", w.Outcome, w.Why)
	}
}

// A VIP that another program has changed is told with what is wrong.
func TestWrongRoute(t *testing.T) {
	n := webNode(t, nil)
	n.Actual.Put(state.VIPID(netip.MustParseAddr("10.96.0.10")), state.Intern(state.Spec{Condition: state.WrongRoute}))
	n.compare(t)
	e := mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.Addr{})
	if text := e.Frontends[0].Takes[0].Text; text != "the address 10.96.0.10 is one of this node's own, with a wrong address or route" {
		t.Error(text)
	}
	if len(e.Differs) != 1 || e.Differs[0].Have != "with a wrong address or route" {
		t.Errorf("%+v", e.Differs)
	}
}

// What tools read: nothing that is a list is null, and names do not change.
func TestJSON(t *testing.T) {
	n := webNode(t, nil)
	b, err := json.Marshal(mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.MustParseAddr("10.244.0.12")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"schema":"kube-ipvs/explain/v1","service":"default/web","node":"n1","clusterIPServers":"image"`,
		`"kind":"ClusterIP","address":"10.96.0.10:80","family":4,"protocol":"tcp","policy":"Cluster"`,
		`"client":{"kind":"pod","address":"10.244.0.12"`, `"outcome":"served"`, `"virtualServer":"242.96.0.10:80/tcp","masquerade":"no"`,
		`"chosen":true,"reason":"chosen","why":"ready","weight":1,"connections":0`, `"differences":[],"problems":[],"complete":true,"asDesired":true`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	if strings.Contains(string(b), ":null") {
		t.Errorf("a null in\n%s", b)
	}
}

// On a node where nothing is programmed, what all need does not drown the rest.
func TestNothingProgrammed(t *testing.T) {
	n := webNode(t, nil)
	n.Actual, n.Rules = &state.State{}, [2]string{}
	n.compare(t)
	e := mustExplain(t, n, model.Key{Namespace: "default", Name: "web"}, netip.Addr{})
	var out strings.Builder
	e.Print(&out)
	for _, want := range []string{"The address 10.96.0.10 is not an address of this node, and should be.", "Virtual server 242.96.0.10:80/tcp: MISSING",
		"missing virtual server 242.96.0.10:80/tcp", "more that all Services need"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines > 50 || e.AsDesired {
		t.Errorf("%d lines:\n%s", lines, out.String())
	}
}

// The last line says what is wrong, before all that is not.
func TestVerdict(t *testing.T) {
	way := func(kind, outcome string) Way { return Way{Client: Client{Kind: kind}, Outcome: outcome} }
	lb := Frontend{Kind: "load-balancer IP", Address: "203.0.113.7:80", Protocol: "tcp", Family: 4,
		Ways: []Way{way(FromPod, Served), way(FromNode, Dropped), way(FromOutside, Dropped)}}
	node := Frontend{Kind: "node port", Address: "*:30080", Protocol: "tcp", Family: 4, Ways: []Way{way(FromPod, Refused)}}
	missing, extra := Difference{What: "missing", Object: "vip 10.96.0.10"}, Difference{What: "extra", Object: "set KIPVS-X"}
	const turned = "Not served: the node itself, a client from outside at load-balancer IP 203.0.113.7:80/tcp: dropped, and the client gets no answer; a pod at node port *:30080/tcp (IPv4): refused at once."
	for _, tt := range []struct {
		e    Explanation
		want string
	}{
		{Explanation{Complete: true, AsDesired: true}, "No object differs."},
		{Explanation{Complete: true, AsDesired: true, Frontends: []Frontend{lb, node}}, turned + " No object differs."},
		{Explanation{Complete: true, AsDesired: true, Problems: []string{"a.", "b"}}, "Wrong: 2 problems, the first is a. No object differs."},
		{Explanation{AsDesired: true, Problems: []string{"a."}}, "Wrong: a; some objects cannot be read. No object differs."},
		{Explanation{Complete: true, Differs: []Difference{missing}}, "Wrong: one object differs, missing vip 10.96.0.10."},
		{Explanation{Complete: true, Problems: []string{"a"}, Differs: []Difference{missing, extra}, Frontends: []Frontend{lb, node}},
			"Wrong: a; 2 objects differ, the first is missing vip 10.96.0.10. " + turned},
	} {
		var out strings.Builder
		tt.e.Print(&out)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if got := lines[len(lines)-1]; got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
}
