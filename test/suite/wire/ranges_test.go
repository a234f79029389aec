package wire

import (
	"fmt"
	"slices"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestSourceRanges checks which clients get through loadBalancerSourceRanges to the
// load-balancer IP, and that all other frontends stay open.
func TestSourceRanges(t *testing.T) {
	all := []*testbed.Host{bed.C1, bed.Node, bed.Ext, bed.Node2}
	tests := []struct {
		name, ranges string
		allowed      []*testbed.Host
		bound        bool // the load-balancer IP is the node's own, and so the source of the node's packets to it
	}{
		{"client", `"192.168.50.2/32", "fd50::2/128"`, []*testbed.Host{bed.Ext}, false},
		{"node", `"192.168.50.1/32", "fd50::1/128"`, []*testbed.Host{bed.Node}, false},
		{"lan", `"192.168.50.0/24", "fd50::/64"`, []*testbed.Host{bed.Node, bed.Ext, bed.Node2}, false},
		{"pods", `"10.244.0.0/16", "fd44::/64"`, []*testbed.Host{bed.C1}, false},
		{"all-clients", `"0.0.0.0/0", "::/0"`, all, false},
		{"client-bound", `"192.168.50.2/32", "fd50::2/128"`, []*testbed.Host{bed.Ext}, true},
		{"node-bound", `"192.168.50.1/32", "fd50::1/128"`, []*testbed.Host{bed.Node}, true},
	}
	// Nothing else that the node sends is to come from these addresses.
	bind := func(verb string) string {
		script := "set -e; "
		for i, tt := range tests {
			if tt.bound {
				lb := testbed.Service{Number: i + 1}.LoadBalancer()
				script += fmt.Sprintf("ip addr %s %s/32 dev lo scope link; ip addr %[1]s %[3]s/128 dev lo preferred_lft 0; ", verb, lb.V4.Addr(), lb.V6.Addr())
			}
		}
		return script
	}
	undo(t, bed.Node, bind("del"))
	on(t, bed.Node, bind("add"))
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		var services []testbed.Service
		for i, tt := range tests {
			services = append(services, testbed.Service{
				Name: tt.name, Number: i + 1, Type: "LoadBalancer", External: true,
				Spec: []string{"loadBalancerSourceRanges: [" + tt.ranges + "]"},
			})
		}
		serve(t, d, testbed.Backends(bed.P1), services...)
		for i, tt := range tests {
			t.Run(tt.name, func(t *testing.T) { ranged(t, services[i], all, tt.allowed) })
		}
	})
}

func ranged(t *testing.T, s testbed.Service, all, allowed []*testbed.Host) {
	lb := []testbed.Frontend{s.LoadBalancer()}
	var shut []request
	for _, h := range all {
		if slices.Contains(allowed, h) {
			answered(t, requests(lb, h), bed.Node, "p1")
		} else {
			shut = append(shut, requests(lb, h)...)
		}
	}
	lost(t, shut...)
	answered(t, requests([]testbed.Frontend{s.ClusterIP(), s.NodePort(), s.ExternalIP()}, all...), anyone, "p1")
}

// TestSourceRangesChange opens and closes a load-balancer IP live.
func TestSourceRangesChange(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "ranged", Number: 1, Type: "LoadBalancer"}
		rs := requests([]testbed.Frontend{s.LoadBalancer()}, bed.Ext)
		serve(t, d, testbed.Backends(bed.P1), s)
		answered(t, rs, bed.Node, "p1")
		s.Spec = []string{`loadBalancerSourceRanges: ["192.168.50.3/32", "fd50::3/128"]`}
		serve(t, d, testbed.Backends(bed.P1), s)
		lost(t, rs...)
		s.Spec = nil
		serve(t, d, testbed.Backends(bed.P1), s)
		answered(t, rs, bed.Node, "p1")
	})
}
