package cluster

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// The way back: kube-ipvs is stopped, which leaves all that it has programmed,
// kube-proxy programs the node beside it, and then kube-ipvs cleans up. Clients
// ask and hold connections all the time, and none of them notices.
//
// Not so with its mode ipvs: at its start it deletes virtual servers that it does
// not know, and the clean-up takes addresses from kube-ipvs0 that are both's.
func TestBack(t *testing.T) {
	for _, mode := range []string{"iptables", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			begin(t)
			s := testbed.Service{Name: "web", Number: 1, Type: "NodePort"}
			apply(t, bed.With(s, testbed.Backends(bed.P1, bed.P2)))
			d := start(t)
			settled(t, d)
			l := press(t, request{bed.C1, "tcp", s.ClusterIP()}, request{bed.Node, "tcp", s.ClusterIP()}, request{bed.C1, "udp", s.ClusterIP()}, request{bed.Ext, "tcp", s.NodePort()})
			must(t, d.Stop())
			l.more(t)
			kubeProxy(t, mode)
			ruled(t, mode, s)
			l.more(t)
			cleanup(t)
			l.more(t)
			apply(t, bed.With(s, testbed.Backends(bed.P1, bed.P2, bed.R1)))
			for _, f := range s.Frontends() {
				reached(t, bed.C1, []testbed.Frontend{f}, "r1")
			}
			l.halt(t)
		})
	}
}

// ruled waits until kube-proxy has rules for a Service in both families: it is
// healthy before that.
func ruled(t *testing.T, mode string, s testbed.Service) {
	t.Helper()
	show := map[string][]string{
		"iptables": {"iptables-save -t nat", "ip6tables-save -t nat"},
		"nftables": {"nft list table ip kube-proxy", "nft list table ip6 kube-proxy"},
	}[mode]
	for i, command := range show {
		await(t, func() error {
			addr := s.ClusterIP().Addr(i == 0).Addr().String()
			if rules := sh(t, bed.Node, command+" || true"); !strings.Contains(rules, addr) {
				return fmt.Errorf("%s shows nothing of %s:\n%s", command, addr, rules)
			}
			return nil
		})
	}
}
