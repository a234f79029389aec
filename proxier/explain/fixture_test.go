package explain

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

func config(mode desired.Mode) desired.Config {
	return desired.Config{
		Mode: mode, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: world.Node,
		PodCIDRs: [2]netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/64")},
	}
}

var (
	nodeIP = netip.MustParseAddr("192.168.50.1")
	facts  = state.Facts{NodeIPs: []netip.Addr{nodeIP, netip.MustParseAddr("fd50::1")}, MTU: 1500}
)

// newNode returns a node whose kernel holds what the model asks for.
func newNode(c desired.Config, m *model.Model) *Node {
	table := desired.NewTable(c, facts)
	table.Update(m, m.Keys())
	n := &Node{
		Preview: &desired.Preview{
			Model: m, Table: table, Config: c, Facts: facts, Actual: &state.State{}, Complete: true,
			Problems: append(m.Board().List(), table.Board().List()...), Why: table.Explain(m), Reduced: state.Reduced{},
		},
		Rules:     [2]string{c.Rules(state.IPv4), c.Rules(state.IPv6)},
		Addresses: append([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, facts.NodeIPs...),
	}
	for id, spec := range table.All() {
		n.Actual.Put(id, spec)
	}
	return n
}

// never is a Drain without connections.
type never struct{}

func (never) Draining(state.ID) bool { return false }

// compare finds out what differs, as the loop does.
func (n *Node) compare(t interface{ Fatal(...any) }) {
	var wants []state.Want
	known := map[state.ID]bool{}
	for id, spec := range n.Table.All() {
		wants = append(wants, state.Want{ID: id, Spec: spec, Present: true})
		known[id] = true
	}
	for id := range n.Actual.All() {
		if !known[id] {
			wants = append(wants, state.Want{ID: id})
		}
	}
	for _, family := range state.Families(true) {
		have, err := netutil.ParseRules(n.Rules[family], []string{state.Prefix4, state.Prefix6}[family])
		if err != nil {
			t.Fatal(err)
		}
		want, err := netutil.ParseRules(n.Config.Rules(family), []string{state.Prefix4, state.Prefix6}[family])
		if err != nil {
			t.Fatal(err)
		}
		if n.Differ[family] = netutil.Missing(have, want); n.Differ[family] != nil {
			n.Actual.Put(state.RulesID(family), state.Intern(state.Spec{Condition: state.Differs, Text: "changed"}))
		}
	}
	n.Plan = state.NewPlan(state.Diff(wants, n.Actual, never{}))
}

// load applies the objects of a manifest.
func load(t *testing.T, m *model.Model, manifest string) {
	t.Helper()
	for _, doc := range strings.Split(manifest, "---\n") {
		var err error
		if strings.Contains(doc, "kind: EndpointSlice") {
			s := &discoveryv1.EndpointSlice{}
			err = yaml.UnmarshalStrict([]byte(doc), s)
			model.DefaultSlice(s)
			m.ApplySlice(s, "")
		} else {
			s := &corev1.Service{}
			err = yaml.UnmarshalStrict([]byte(doc), s)
			model.Default(s)
			m.ApplyService(s, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// remove takes an object away, by what it prints.
func (n *Node) remove(t *testing.T, name string) {
	t.Helper()
	for id := range n.Actual.All() {
		if id.String() == name {
			n.Actual.Delete(id)
			return
		}
	}
	t.Fatalf("there is no %s", name)
}
