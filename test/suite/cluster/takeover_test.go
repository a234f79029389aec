package cluster

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
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
			shut := firewall(t, s, mode == "ipvs")
			l := press(t, request{bed.C1, "tcp", s.ClusterIP()}, request{bed.Node, "tcp", s.ClusterIP()}, request{bed.C1, "udp", s.ClusterIP()}, request{bed.Ext, "tcp", s.NodePort()})
			must(t, control.Dismiss(p))
			l.more(t)
			refuses(t)
			names := func(when, text string) {
				if strings.Contains(text, shut) != (mode == "ipvs") || strings.Contains(text, "--dport 22 ") {
					t.Errorf("%s: says of the firewall: %s", when, text)
				}
			}
			_, plan := exit(t, append(append([]string{"plan"}, flags(control.Kubeconfig(cluster.Admin))...), "--takeover")...)
			names("the plan", plan)
			d := start(t, "--takeover")
			settled(t, d)
			l.more(t)
			await(t, func() error {
				if log := d.Log(); !strings.Contains(log, "taken over from kube-proxy") {
					return fmt.Errorf("not taken over: %s", log)
				}
				return nil
			})
			names("the log", d.Log())
			// From now on kube-proxy's objects decide nothing.
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

// firewall closes a node port to one host, in INPUT, and returns how iptables-save prints
// that. It holds where packets to Services come there.
func firewall(t *testing.T, s testbed.Service, holds bool) string {
	t.Helper()
	port := s.NodePort().V4.Port()
	rule := fmt.Sprintf("-A INPUT -s %s/32 -p tcp -m tcp --dport %d -j DROP", bed.Node2.IPv4, port)
	other := "-A INPUT -p tcp --dport 22 -j DROP"
	sh(t, bed.Node, "iptables "+rule+"; iptables "+other)
	t.Cleanup(func() { sh(t, bed.Node, "iptables -F INPUT") })
	_, err := bed.Node2.Ask(t.Context(), "tcp", s.NodePort().V4, testbed.From{})
	if (err != nil) != holds {
		t.Errorf("a node port that a rule in INPUT closes: %v", err)
	}
	return rule
}

// tracked waits until kube-proxy has written the rules of both families. Its mode
// ipvs answers before that, and as long as no rule of a family asks for it the
// kernel does not track connections of that family: those that begin then are new
// to all later rules, and no proxy can take them over.
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

// refuses expects a kube-ipvs without --takeover to name the owner of the rules, to
// end, and to leave them alone.
func refuses(t *testing.T) {
	t.Helper()
	before := snapshot(t)
	code, out := exit(t, append([]string{"run"}, flags(control.Kubeconfig(cluster.Admin))...)...)
	if code == 0 || !strings.Contains(out, "kube-proxy") || !strings.Contains(out, "--takeover") {
		t.Errorf("without --takeover: exit code %d, and it said: %s", code, out)
	}
	same(t, before, snapshot(t))
}
