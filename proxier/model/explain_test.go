package model

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kube-ipvs/netutil/ipfamily"
)

// What is said of the choice is the choice, whatever the cluster.
func TestVerdictsAreTheChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Node{Name: "n1", Zone: rapid.SampledFrom([]string{"za", "zb", ""}).Draw(t, "zone")})
		for _, e := range drawEvents(t) {
			e.apply(m)
		}
		for key, view := range views(m) {
			for port := range view.Ports {
				agrees(t, key, view.Endpoints[ipfamily.IPv4][port], m.Verdicts(key, port, ipfamily.IPv4))
				agrees(t, key, view.Endpoints[ipfamily.IPv6][port], m.Verdicts(key, port, ipfamily.IPv6))
			}
		}
	})
}

func agrees(t *rapid.T, key Key, eps Endpoints, all []Verdict) {
	t.Helper()
	var cluster, local, onNode []netip.AddrPort
	for _, v := range all {
		if v.Cluster.Chooses() {
			cluster = append(cluster, v.At)
		}
		if v.Local.Chooses() {
			local = append(local, v.At)
		}
		used := v.Cluster != Duplicate && v.Cluster != NoPort && v.Cluster != OtherFamily
		if v.OnNode && used {
			onNode = append(onNode, v.At)
		}
		if (v.Local == NotLocal) == v.OnNode && used {
			t.Fatalf("%s: %+v", key, v)
		}
	}
	for _, c := range []struct {
		what      string
		got, want []netip.AddrPort
	}{{"cluster", cluster, eps.Cluster}, {"local", local, eps.Local}, {"on node", onNode, eps.OnNode}} {
		if !slices.Equal(c.got, c.want) {
			t.Fatalf("%s: %s is said to be %v and is %v:\n%+v", key, c.what, c.got, c.want, all)
		}
	}
}

// Each endpoint of each slice is spoken of, with the reason that a reader of
// the slice would give.
func TestVerdicts(t *testing.T) {
	tests := []struct {
		name, want string // address's last byte, policy Cluster / policy Local
		in         []string
	}{
		{"ready", "1 chosen/chosen, 2 chosen/not-local", []string{"10.0.0.1 node=n1", "10.0.0.2 node=n2"}},
		{"states", "1 chosen/chosen, 2 not-ready/not-ready, 3 leaving/leaving, 4 gone/gone",
			[]string{"10.0.0.1 node=n1", "10.0.0.2 node=n1 notready", "10.0.0.3 node=n1 notready terminating", "10.0.0.4 node=n1 notready notserving terminating"}},
		{"last resort here", "1 chosen/not-local, 2 leaving/last-resort", []string{"10.0.0.1 node=n2", "10.0.0.2 node=n1 notready terminating"}},
		{"last resort", "2 last-resort/last-resort", []string{"10.0.0.2 node=n1 notready terminating"}},
		{"zones", "1 chosen/not-local, 2 other-zone/chosen", []string{"10.0.0.1 zone=za", "10.0.0.2 node=n1 zone=zb"}},
		{"nodes", "1 chosen/not-local, 2 other-node/not-local", []string{"10.0.0.1 fornode=n1", "10.0.0.2 fornode=n2"}},
		{"one without a hint", "1 chosen/not-local, 2 chosen/not-local", []string{"10.0.0.1 zone=zb", "10.0.0.2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := modelOf(t, service(), endpoints(tt.in...))
			if got := spell(m.Verdicts(Key{"default", "web"}, 0, ipfamily.IPv4)); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
	m := modelOf(t, service(), endpoints("10.0.0.1 notready"), named("web-2", endpoints("10.0.0.1")), named("web-6", endpoints("fd00::1")))
	other := named("web-3", endpoints("10.0.0.3"))
	other.Ports[0].Name = new("other")
	apply(t, m, other)
	if got, want := spell(m.Verdicts(Key{"default", "web"}, 0, ipfamily.IPv4)), "1 chosen/not-local, 1 duplicate/duplicate, 3 no-port/no-port"; got != want {
		t.Errorf("slices: %s, want %s", got, want)
	}
	if got, want := spell(m.Verdicts(Key{"default", "web"}, 0, ipfamily.IPv6)), "1 other-family/other-family"; got != want {
		t.Errorf("slice of another family: %s, want %s", got, want)
	}
	if got := m.Verdicts(Key{"default", "nobody"}, 0, ipfamily.IPv4); got != nil {
		t.Errorf("no service: %v", got)
	}
}

func spell(all []Verdict) string {
	var out []string
	for _, v := range all {
		text := v.At.Addr().String()
		out = append(out, text[strings.LastIndexAny(text, ".:")+1:]+" "+v.Cluster.String()+"/"+v.Local.String())
	}
	return strings.Join(out, ", ")
}
