package cluster

import (
	"strings"
	"testing"

	"kube-ipvs/test/testbed"
)

// kube-proxy is stopped, which leaves all that it has programmed, and kube-ipvs
// takes over while clients ask and hold connections: none of them notices.
func TestTakeover(t *testing.T) {
	for _, mode := range []string{"ipvs", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			begin(t)
			s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
			apply(t, bed.With(s, testbed.Backends(bed.P1, bed.P2)))
			p := kubeProxy(t, mode)
			for _, f := range s.Frontends() {
				reached(t, bed.C1, []testbed.Frontend{f}, "p1", "p2")
			}
			l := press(t, request{bed.C1, "tcp", s.ClusterIP()}, request{bed.Node, "tcp", s.ClusterIP()}, request{bed.C1, "udp", s.ClusterIP()}, request{bed.Ext, "tcp", s.NodePort()})
			must(t, control.Dismiss(p))
			l.more(t)
			refuses(t)
			d := start(t, "--takeover")
			settled(t, d)
			l.more(t)
			// From now on what kube-proxy has left decides nothing.
			apply(t, bed.With(s, testbed.Backends(bed.P1, bed.P2, bed.R1)))
			for _, f := range s.Frontends() {
				reached(t, bed.C1, []testbed.Frontend{f}, "r1")
			}
			reached(t, bed.Ext, s.Outside(), "r1")
			settled(t, d)
			l.halt(t)
		})
	}
}

// refuses wants a kube-ipvs without --takeover to say whose rules are there, to
// end, and to leave them alone.
func refuses(t *testing.T) {
	t.Helper()
	before := snapshot(t)
	code, out := exit(t, append([]string{"run"}, flags(control.Kubeconfig(Admin))...)...)
	if code == 0 || !strings.Contains(out, "kube-proxy") || !strings.Contains(out, "--takeover") {
		t.Errorf("without --takeover: exit code %d, and it said: %s", code, out)
	}
	same(t, before, snapshot(t))
}
