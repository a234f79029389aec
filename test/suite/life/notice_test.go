package life

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// told are faults of which the kernel tells.
var told = []struct {
	name string
	do   string
	only string // binding in which it makes sense
	vain bool   // the daemon may come across it by chance, and not call it drift
	then string // checks the mended state, and removes objects of others
}{
	{name: "routes flushed", do: "ip route flush table local proto 77"},
	{name: "IPv6 routes flushed", do: "ip -6 route flush table local proto 77"},
	{name: "one VIP's route deleted", do: "ip route del local 10.96.0.10 table local"},
	{name: "another's route in the place of ours", do: "ip route replace local 10.96.0.10 dev eth0 table local",
		then: "ip route get 10.96.0.10 | grep -q 'src 192.168.50.1'; ip route del local 10.96.0.10 dev eth0 table local"},
	{name: "route of images deleted", do: "ip route del local 240.0.0.0/5 table local"},
	{name: "addresses flushed", do: "ip addr flush dev kube-ipvs0", only: "address"},
	{name: "one address deleted", do: "ip -6 addr del fd96::a/128 dev kube-ipvs0", only: "address"},
	{name: "device deleted", do: "ip link del kube-ipvs0"},
	{name: "device set up and down", do: "ip link set kube-ipvs0 up; ip link set kube-ipvs0 down", only: "address"},
	{name: "lo set down and up", do: "ip link set lo down; ip link set lo up"},
	{name: "the node's address away and back, which takes the routes with it",
		vain: true,
		do:   "ip addr del 192.168.50.1/24 dev eth0; ip addr add 192.168.50.1/24 dev eth0; ip route replace default via 192.168.50.254"},
	{name: "routes flushed where the rule of the local table has moved", do: `
ip rule add pref 100 lookup local; ip rule del pref 0; ip route flush table local proto 77
ip rule add pref 0 lookup local; ip rule del pref 100`},
}

// kube-ipvs mends objects because the kernel reports their change, and not when an
// audit is due.
func TestTheKernelTells(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		d := n.start("--audit-period", "1h")
		n.settled()
		want := n.snapshot()
		for _, fault := range told {
			if fault.only == "" || fault.only == n.binding {
				since, began := len(d.records()), time.Now()
				n.sh("%s", fault.do)
				if !fault.vain {
					found := d.drifted(since, "the kernel has told of a change")
					t.Logf("%s: found after %s", fault.name, found.Time.Sub(began).Round(time.Millisecond))
				}
				if fault.then != "" {
					n.sh("%s", fault.then)
				}
				n.becomes(want)
			}
		}
		d.stop()
		for _, r := range d.records() {
			if r.Failed != 0 {
				t.Errorf("round %d: %d writes failed", r.Round, r.Failed)
			}
		}
	})
}

// drifted waits for a round that has found drift, and checks why the audit
// before it began: the log says so from record number since on.
func (d *daemon) drifted(since int, because string) record {
	d.n.t.Helper()
	found := d.awaitRound(since, func(r record) bool { return r.Drift > 0 })
	for _, r := range d.records()[since:] {
		if r.Msg == "an audit begins" && r.Because != because {
			d.n.t.Errorf("an audit began because %s, want because %s", r.Because, because)
		}
	}
	return found
}

// becomes waits until the node is as in a snapshot.
func (n *node) becomes(want snapshot) {
	n.t.Helper()
	n.await(func() error {
		if diff := difference(want, n.snapshot()); diff != "" {
			return fmt.Errorf("not mended:\n%s", diff)
		}
		return nil
	})
}

// The way of packets may change while no link does: the source of packets to VIPs is
// the kernel's present choice, and no address of keepalived's, which are host
// addresses and may stand before the node's own.
func TestSourceFollowsTheKernel(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.sh(`ip addr flush dev eth0; ip addr add 192.168.70.7/32 dev eth0; ip addr add 192.168.50.1/24 dev eth0; ip addr add 192.168.50.2/24 dev eth0
ip -6 addr add fd50::1/64 dev eth0 nodad; ip -6 addr add fd70::7/128 dev eth0 nodad preferred_lft 0
ip route add default via 192.168.50.254; ip -6 route replace default via fd50::fe
ip link add eth1 type veth peer name peer1
for l in eth1 peer1; do ip link set $l addrgenmode none; ip link set $l up; done
ip addr add 192.168.60.1/24 dev eth1; ip -6 addr add fd60::1/64 dev eth1 nodad`)
		n.enrich()
		d := n.start("--audit-period", "1h")
		n.settled()
		for _, step := range []struct{ name, do, v4, v6 string }{
			{"keepalived", "", "192.168.50.1", "fd50::1"},
			{"policy routing", "ip route add default via 192.168.60.254 table 99; ip -6 route add default via fd60::fe table 99; for v in -4 -6; do ip $v rule add pref 99 lookup 99; done", "192.168.60.1", "fd60::1"},
			{"none, and preferred sources", "for v in -4 -6; do ip $v rule del pref 99; done; ip route replace default via 192.168.50.254 src 192.168.50.2; ip -6 route del default; ip -6 route add default via fd60::fe src fd50::1", "192.168.50.2", "fd50::1"},
			{"no default route", "ip route del default; ip -6 route del default; ip addr del 192.168.50.1/24 dev eth0; ip addr add 192.168.50.1/24 dev eth0", "192.168.50.1", "fd50::1"},
		} {
			n.sh("%s", step.do)
			n.await(func() error {
				v4, v6 := n.sh("ip route show table local 10.96.0.10"), n.sh("ip -6 route show table local fd96::a")
				if !strings.Contains(v4, "src "+step.v4+" ") || !strings.Contains(v6, "src "+step.v6+" ") {
					return fmt.Errorf("%s: the routes are %s%s", step.name, v4, v6)
				}
				return nil
			})
		}
		n.settled()
		d.stop()
		for _, r := range d.records() {
			if r.Msg == "an audit begins" && r.Because != "the kernel has told of a change" {
				t.Errorf("an audit began because %s", r.Because)
			}
		}
	})
}

// Of virtual servers and sets the kernel tells nothing. A small cluster has all
// compared as often as a large one has these looked at.
func TestTheKernelDoesNotTell(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		d := n.start("--audit-period", "1h")
		n.settled()
		want := n.snapshot()
		for _, do := range []string{"ipvsadm -D -t " + n.server(10) + ":80; ipset del KIPVS-ALL 10.96.0.10,tcp:80", "ipvsadm -C"} {
			n.sh("%s", do)
			err := testbed.Await(t.Context(), 2*patience, func() error {
				if diff := difference(want, n.snapshot()); diff != "" {
					return fmt.Errorf("%s: not mended:\n%s", do, diff)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		d.stop()
	})
}
