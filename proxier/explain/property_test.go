package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

// draw returns a random cluster, all of it programmed.
func draw(t *rapid.T, change func(*desired.Config)) *Node {
	m := model.New(model.Node{Name: world.Node})
	for range rapid.IntRange(1, 20).Draw(t, "events") {
		if rapid.Bool().Draw(t, "service") {
			s := world.Service(t)
			delete(s.Annotations, model.WeightsAnnotation) // an endpoint of weight 0 is chosen, and gets no packet
			m.ApplyService(s, "")
		} else {
			m.ApplySlice(world.Slice(t), "")
		}
	}
	c := config(rapid.SampledFrom([]desired.Mode{desired.Direct, desired.Image}).Draw(t, "mode"))
	if change != nil {
		change(&c)
	}
	n := newNode(c, m)
	n.compare(t)
	return n
}

// Of a node that is as wanted, each endpoint that is said to be chosen is a
// real server that gets connections, and no other.
func TestChosenAreRealServers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := draw(t, nil)
		for _, key := range n.Model.Keys() {
			e := mustExplain(t, n, key, netip.Addr{})
			if !e.AsDesired {
				t.Fatalf("%s: %+v", key, e.Differs)
			}
			for _, f := range e.Frontends {
				for _, s := range f.Servers {
					agrees(t, n, f, s)
				}
			}
		}
	})
}

func agrees(t *rapid.T, n *Node, f Frontend, s Server) {
	t.Helper()
	id := state.VirtualServerID(parseProtocol(s.Protocol), netip.MustParseAddrPort(s.Address))
	var want, got []string
	for _, o := range n.reals[id] {
		if o.weight > 0 {
			want = append(want, o.at.String())
		}
	}
	for _, e := range s.Endpoints {
		if e.Chosen {
			got = append(got, e.Address)
		}
		if e.Chosen != (e.Weight != nil && *e.Weight > 0) || e.Reason == "unknown" {
			t.Fatalf("%s %s: %+v", f.Kind, f.Address, e)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || !s.Present {
		t.Fatalf("%s %s: %v are said to be chosen, %v are real servers of %s", f.Kind, f.Address, got, want, s.Address)
	}
}

func mustExplain(t interface{ Fatal(...any) }, n *Node, key model.Key, from netip.Addr) *Explanation {
	all, err := n.Explain(Query{Service: key}, from)
	if err != nil || len(all) != 1 {
		t.Fatal(key, len(all), err)
	}
	return all[0]
}

// askers are clients of all kinds, some of them endpoints.
var askers = []string{"10.244.0.1", "10.244.0.9", "10.244.7.7", "192.168.50.1", "192.168.50.9", "10.1.2.3", "fd44::1", "fd44::99", "fd50::1", "fd50::9", "2001:db8::7"}

// What the rules make of a packet is what Kubernetes says of traffic policies,
// source ranges and Services without endpoints, and what kube-proxy does about
// masquerade.
func TestWaysFollowThePolicies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.Bool().Draw(t, "masquerade all")
		n := draw(t, func(c *desired.Config) { c.MasqueradeAll = all })
		from := netip.MustParseAddr(rapid.SampledFrom(askers).Draw(t, "from"))
		for _, key := range n.Model.Keys() {
			s, _ := n.Model.Service(key)
			if !s.Serves(from) {
				continue
			}
			frontends := n.Table.Frontends(s)
			frontends = slices.DeleteFunc(frontends, func(f desired.Frontend) bool { return f.Addr.Addr().Is4() != from.Is4() })
			e := mustExplain(t, n, key, from)
			view, _ := n.Model.View(key) // good until the next one
			for i, f := range frontends {
				if f.Lost == (model.Key{}) {
					w := e.Frontends[i].Ways[0]
					if got, want := spell(w), expected(n, view, f, from); got != want {
						t.Fatalf("%s %s from %s: %s, want %s; steps %+v", key, f, from, got, want, w.Steps)
					}
				}
			}
		}
	})
}

func spell(w Way) string {
	if w.Outcome != Served {
		return w.Outcome
	}
	return fmt.Sprint(w.Server, " masquerade ", w.Masquerade, w.Masqueraded)
}

// expected says the same from the Service alone.
func expected(n *Node, v model.View, f desired.Frontend, from netip.Addr) string {
	eps := v.Endpoints[state.FamilyOf(from)][f.Port]
	node := slices.Contains(facts.NodeIPs, from)
	pod := n.Config.PodCIDRs[state.FamilyOf(from)].Contains(from)
	outside := f.Reach != desired.ClusterIP && f.Local && !node && !pod
	chosen, server := eps.Cluster, f.Server
	if f.Reach == desired.ClusterIP && f.Local {
		chosen = eps.Local
	} else if outside {
		chosen, server = eps.Local, f.LocalServer
	}
	switch {
	case f.Reach == desired.LoadBalancer && !allowed(v.SourceRanges, from):
		return Dropped
	case !eps.Any:
		return Refused
	case len(chosen) == 0:
		return Dropped
	}
	masquerade := f.Reach != desired.ClusterIP && !f.Local || f.Reach != desired.ClusterIP && node || f.Reach == desired.ClusterIP && (!pod || n.Config.MasqueradeAll)
	answer := "no"
	var itself []string
	if masquerade {
		answer = "yes"
	} else {
		for _, at := range chosen {
			if at.Addr() == from && slices.Contains(eps.OnNode, at) {
				itself, answer = append(itself, at.String()), "some"
			}
		}
		if len(itself) == len(chosen) {
			itself, answer = nil, "yes"
		}
	}
	return fmt.Sprint(server.AddrPort(), "/", server.Proto, " masquerade ", answer, itself)
}

func allowed(ranges []netip.Prefix, from netip.Addr) bool {
	any := false
	for _, p := range ranges {
		if p.Addr().Is4() == from.Is4() {
			any = true
			if p.Contains(from) {
				return true
			}
		}
	}
	return !any
}

// What is told of a kind of clients is what is told of each of that kind, but
// for endpoints and for those whom source ranges keep out.
func TestKindsStandForTheirClients(t *testing.T) {
	of := map[string][2]string{FromPod: {"10.244.7.7", "fd44::99"}, FromNode: {"192.168.50.1", "fd50::1"}, FromOutside: {"192.168.50.9", "fd50::9"}}
	rapid.Check(t, func(t *rapid.T) {
		n := draw(t, nil)
		for _, key := range n.Model.Keys() {
			told := map[string]*Frontend{} // by client and frontend
			s, _ := n.Model.Service(key)
			for _, pair := range of {
				for _, ip := range pair {
					from := netip.MustParseAddr(ip)
					if !s.Serves(from) {
						continue
					}
					e := mustExplain(t, n, key, from)
					for i := range e.Frontends {
						told[ip+name(&e.Frontends[i])] = &e.Frontends[i]
					}
				}
			}
			for _, f := range mustExplain(t, n, key, netip.Addr{}).Frontends {
				for _, kind := range f.Ways {
					ip := of[kind.Client.Kind][f.Family/6]
					one := told[ip+name(&f)].Ways[0]
					same := spell(one) == spell(kind) && one.MasqueradeWhy == kind.MasqueradeWhy
					if !same && !(kind.IfFrom && one.Outcome == Dropped) || kind.IfFrom && f.SourceRanges == nil {
						t.Fatalf("%s %s from a %s: %s, and from %s: %s", key, f.Address, kind.Client.Kind, spell(kind), ip, spell(one))
					}
				}
			}
		}
	})
}

func name(f *Frontend) string { return fmt.Sprint(" ", f.Kind, f.Address, f.Family, f.Protocol) }

// Whatever of a Service is taken away from the kernel is named.
func TestWhatIsMissingIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := draw(t, nil)
		keys := n.Model.Keys()
		if len(keys) == 0 {
			return
		}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		wanted := n.Table.Wanted(key)
		if len(wanted) == 0 {
			return
		}
		gone := rapid.SampledFrom(wanted).Draw(t, "gone").ID
		n.Actual.Delete(gone)
		n.compare(t)
		e := mustExplain(t, n, key, netip.Addr{})
		named := slices.ContainsFunc(e.Differs, func(d Difference) bool { return d.What == "missing" && d.Object == gone.String() })
		if e.AsDesired || !named {
			t.Fatalf("%s is gone, and it says %+v", gone, e.Differs)
		}
		var out strings.Builder
		e.Print(&out)
		if !strings.Contains(out.String(), "missing "+gone.String()) {
			t.Fatalf("%s is not named in\n%s", gone, out.String())
		}
	})
}
