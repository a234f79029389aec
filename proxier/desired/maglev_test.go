package desired

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// tableSize is that of the kernel's table (CONFIG_IP_VS_MH_TAB_INDEX is 12 by default).
const tableSize = 4093

// maglevTable fills a table as ip_vs_mh.c does from real servers of equal weight, of which the
// last one that was added comes first. It has other hashes, which does not matter here.
func maglevTable(added []netip.AddrPort) (table [tableSize]netip.AddrPort) {
	next, skip := make([]uint64, len(added)), make([]uint64, len(added))
	for i, e := range added {
		next[i] = fnv64a("offset", e.String()) % tableSize
		skip[i] = fnv64a("skip", e.String())%(tableSize-1) + 1
	}
	for filled := 0; filled < tableSize; {
		for i := len(added) - 1; i >= 0 && filled < tableSize; i-- {
			for table[next[i]].IsValid() {
				next[i] = (next[i] + skip[i]) % tableSize
			}
			table[next[i]] = added[i]
			filled++
		}
	}
	return table
}

// differing returns which part of two tables differs.
func differing(a, b [tableSize]netip.AddrPort) float64 {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return float64(n) / tableSize
}

func somePods(from, n int) (out []netip.AddrPort) {
	for i := from; i < from+n; i++ {
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 8080))
	}
	return out
}

// ordered returns endpoints in the order in which a node adds them.
func ordered(endpoints []netip.AddrPort, node string) (out []netip.AddrPort) {
	for _, r := range shuffle(nil, endpoints, node, model.Key{Namespace: "default", Name: "web"}, 0) {
		out = append(out, r.endpoint)
	}
	return out
}

// TestMaglevTables bounds how far the tables of two nodes differ if one has followed a rolling
// update, and the other has begun after it: docs/balancing.md has the figures.
func TestMaglevTables(t *testing.T) {
	for n, most := range map[int]float64{3: 0.005, 10: 0.02, 100: 0.05} {
		own, followed := 0.0, 0.0
		const runs = 20
		for run := range runs {
			pods, old := somePods(run*1000, n), somePods(run*1000+500, n)
			fresh := maglevTable(ordered(pods, ""))
			own += differing(maglevTable(ordered(pods, fmt.Sprint("a", run))), fresh) / runs
			now := ordered(old, "")
			for i, come := range rand.New(rand.NewPCG(1, uint64(run))).Perm(n) {
				now = append(now, pods[come])
				now = slices.DeleteFunc(now, func(e netip.AddrPort) bool { return e == old[i] })
			}
			followed += differing(maglevTable(now), fresh) / runs
		}
		t.Logf("%d endpoints: %.1f %% of the table differ with orders by node, %.1f %% after a rolling update", n, 100*own, 100*followed)
		if followed > most {
			t.Errorf("%d endpoints: %.1f %% of the table differ after a rolling update, want %.1f at most", n, 100*followed, 100*most)
		}
	}
}

// Nodes add the endpoints of a Service with mh in one order, and those of others each in its
// own. Only with mh the node schedules flows that began elsewhere.
func TestOrderOfMaglev(t *testing.T) {
	for scheduler, same := range map[string]bool{"mh": true, "rr": false} {
		var orders [][]state.ID
		for _, node := range []string{"one", "two"} {
			m := model.New(model.Node{Name: node})
			svc := newService("web", 1, "10.96.0.1")
			svc.Annotations = map[string]string{model.SchedulerAnnotation: scheduler}
			m.ApplyService(svc, "")
			m.ApplySlice(slice("web", somePods(0, 50)), "")
			c := config(Direct)
			c.NodeName = node
			var order []state.ID
			for _, w := range NewTable(c, facts).Update(m, m.TakeDirty()) {
				if w.ID.Kind == state.RealServer {
					order = append(order, w.ID)
				}
			}
			orders = append(orders, order)
		}
		if len(orders[0]) != 50 || slices.Equal(orders[0], orders[1]) != same {
			t.Errorf("%s: orders of %d and %d real servers, the same: %t", scheduler, len(orders[0]), len(orders[1]), !same)
		}
	}
}

// slice returns the EndpointSlice of a Service.
func slice(service string, pods []netip.AddrPort) *discoveryv1.EndpointSlice {
	port, name := int32(pods[0].Port()), ""
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}}
	s.Namespace, s.Name, s.Labels = "default", service+"-1", map[string]string{discoveryv1.LabelServiceName: service}
	for _, p := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{p.Addr().String()}})
	}
	return s
}
