package wire

import (
	"fmt"
	"net/netip"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// every is a Service of every kind, on TCP and UDP, in both families.
const every = `apiVersion: v1
kind: Service
metadata: {name: every}
spec:
  type: LoadBalancer
  clusterIPs: ["10.96.0.10", "fd96::10"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: ["192.168.50.201", "fd50::201"]
  ports:
  - {name: tcp, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: udp, protocol: UDP, port: 80, targetPort: 8080, nodePort: 30080}
status: {loadBalancer: {ingress: [{ip: 192.168.50.200}, {ip: "fd50::200"}]}}
`

func everySlices(hosts ...*testbed.Host) string {
	return bed.Slices("every", "tcp", "TCP", 8080, testbed.Backends(hosts...)) + bed.Slices("every", "udp", "UDP", 8080, testbed.Backends(hosts...))
}

// target is a way to address the Service.
type target struct {
	name        string
	v4, v6      string
	masqueraded bool // endpoints see the node in place of every client
}

var targets = []target{
	{name: "ClusterIP", v4: "10.96.0.10:80", v6: "[fd96::10]:80"},
	{name: "node port", v4: "192.168.50.1:30080", v6: "[fd50::1]:30080", masqueraded: true},
	{name: "load-balancer IP", v4: "192.168.50.200:80", v6: "[fd50::200]:80", masqueraded: true},
	{name: "external IP", v4: "192.168.50.201:80", v6: "[fd50::201]:80", masqueraded: true},
}

func (tt target) addr(four bool) netip.AddrPort {
	if four {
		return ap(tt.v4)
	}
	return ap(tt.v6)
}

var modes = []string{"direct", "image"}

// bindings are the bindings of a mode's tests: one for each mode, since the way behind
// a frontend does not depend on how its address became the node's.
var bindings = map[string]string{"direct": "route", "image": "address"}

// TestReach asks every kind of frontend, over both protocols and families, from a pod,
// the node itself and outside, and checks the answering endpoint and the source that
// it saw.
func TestReach(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			d := start(t, "--cluster-ip-servers", mode, "--vip-binding", bindings[mode])
			put(t, d, "every.yaml", every+everySlices(bed.P1, bed.R1))
			for _, tt := range targets {
				for _, network := range []string{"tcp", "udp"} {
					for _, four := range []bool{true, false} {
						for _, from := range []*testbed.Host{bed.C1, bed.Node, bed.Ext, bed.Node2} {
							t.Run(fmt.Sprintf("%s/%s/v4=%v/from %s", tt.name, network, four, from.Name), func(t *testing.T) {
								reach(t, from, network, tt.addr(four), source(tt, from))
							})
						}
					}
				}
			}
		})
	}
}

// source returns the host whose address the endpoint must see.
func source(tt target, from *testbed.Host) *testbed.Host {
	if tt.masqueraded || from != bed.C1 { // only pods are known as such by --cluster-cidr
		return bed.Node
	}
	return from
}

// reach asks until both endpoints have answered.
func reach(t *testing.T, from *testbed.Host, network string, to netip.AddrPort, source *testbed.Host) {
	t.Helper()
	seen := map[string]bool{}
	eventually(t, from, network, to, "p1", "r1")
	for range 6 {
		a, err := from.Ask(t.Context(), network, to, testbed.From{})
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		seen[a.Name] = true
		if want := source.IP(a.Peer.Addr()); a.Peer.Addr() != want {
			t.Errorf("%s saw %s, want %s", a.Name, a.Peer.Addr(), want)
		}
	}
	if !seen["p1"] || !seen["r1"] {
		t.Errorf("six requests reached only %v", seen)
	}
}
