package cluster

import (
	"fmt"
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
			tracked(t)
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

// tracked waits until kube-proxy has written the rules of both families. Its mode
// ipvs answers before that, and as long as no rule of a family asks for it the
// kernel does not track connections of that family: those that begin then are new
// to whatever rules come later, and nobody can take them over.
func tracked(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"iptables-save", "ip6tables-save"} {
		await(t, func() error {
			if rules := sh(t, bed.Node, tool+" -t nat"); !strings.Contains(rules, "-A KUBE-POSTROUTING") {
				return fmt.Errorf("%s shows no rules of kube-proxy:\n%s", tool, rules)
			}
			return nil
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
