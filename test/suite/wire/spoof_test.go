package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// accomplice is a host that a forged packet is sent to, so that its own packets
// to the image are answers for the node's conntrack.
type accomplice struct {
	*testbed.Host
	networks []string
	shut     string // shell, with %s for an image: it does not answer the forged packet
	open     string // it reaches images
}

func accomplices() []accomplice {
	return []accomplice{
		{bed.Node2, networks, "ip route replace blackhole %[1]s", "ip route replace %[1]s via %[2]s"},
		{bed.C1, networks, "ip route replace blackhole %[1]s", "ip route del %[1]s 2>&1 || true"},
		{bed.Node, []string{"udp"}, ":", ":"}, // its kernel would answer TCP with a reset
	}
}

// forgery is a packet from a mapped address of a load-balancer IP, and its
// consequences.
type forgery struct {
	by      accomplice
	network string
	image   netip.AddrPort
	port    uint16 // of the accomplice
}

func forgeries(lb testbed.Frontend) []forgery {
	images := []netip.AddrPort{ap("240.168.50.201:80"), ap("[5d50::201]:80")}
	if lb.V4 != ap("192.168.50.201:80") || lb.V6 != ap("[fd50::201]:80") {
		panic("these are not the images of " + lb.Name)
	}
	var out []forgery
	for _, by := range accomplices() {
		for _, network := range by.networks {
			for _, image := range images {
				out = append(out, forgery{by, network, image, uint16(firstFreshPort + freshPorts.Add(1))})
			}
		}
	}
	return out
}

// forge sends the packet from the outside through the node.
func (f forgery) forge(t *testing.T) {
	t.Helper()
	if f.by.Host != bed.Node {
		on(t, f.by.Host, fmt.Sprintf(f.by.shut, f.image.Addr()))
	}
	with := testbed.From{Addr: f.image.Addr(), Port: f.image.Port(), Patience: fast / 2}
	to := netip.AddrPortFrom(f.by.IP(f.image.Addr()), f.port)
	if got := testbed.Outcome(bed.Ext.Ask(t.Context(), f.network, to, with)); got != "lost" && got != "refused" {
		t.Fatalf("forged %s to %s: %s", f.network, to, got)
	}
}

// follow has the accomplice ask. It must not get as far as IPVS: whether the
// answer gets back is a matter of which ports are free.
func (f forgery) follow(t *testing.T) {
	t.Helper()
	if f.by.Host != bed.Node {
		on(t, f.by.Host, fmt.Sprintf(f.by.open, f.image.Addr(), bed.Node.IP(f.image.Addr())))
	}
	lost(t, request{f.by.Host, f.network, f.image, testbed.From{Addr: f.by.IP(f.image.Addr()), Port: f.port}})
	for line := range strings.Lines(on(t, bed.Node, "ipvsadm -Lnc")) {
		if strings.Contains(line, fmt.Sprintf(":%d ", f.port)) {
			t.Errorf("%s from %s to %s has reached IPVS: %s", f.network, f.by.Name, f.image, line)
		}
	}
}

// remembered reports whether conntrack has an entry that the packet has made.
func (f forgery) remembered(t *testing.T) bool {
	t.Helper()
	family := "ipv4"
	if f.image.Addr().Is6() {
		family = "ipv6"
	}
	out := on(t, bed.Node, fmt.Sprintf("conntrack -L -f %s -p %s 2>/dev/null", family, f.network))
	return slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
		return strings.Contains(line, fmt.Sprintf("dport=%d ", f.port)) && strings.Contains(line, "src="+f.image.Addr().String()+" ")
	})
}

// TestForgedImage has an outsider send packets from the image of a
// load-balancer IP through the node, to another host, to a pod, and to the node
// itself. Conntrack would remember them, and a host that got them could answer the
// image, past loadBalancerSourceRanges. Entries of before the rules stand are no
// better. For IPv4 the kernel itself drops such packets unless accept_local is set.
func TestForgedImage(t *testing.T) {
	accept := on(t, bed.Node, "sysctl -n net.ipv4.conf.all.accept_local")
	on(t, bed.Node, "sysctl -qw net.ipv4.conf.all.accept_local=1")
	undo(t, bed.Node, "sysctl -qw net.ipv4.conf.all.accept_local="+accept)
	on(t, bed.Ext, "ip addr add 240.168.50.201/32 dev lo; ip addr add 5d50::201/128 dev lo")
	undo(t, bed.Ext, "ip addr del 240.168.50.201/32 dev lo; ip addr del 5d50::201/128 dev lo")
	far := ""
	for _, h := range []*testbed.Host{bed.Node2, bed.C1} {
		far += fmt.Sprintf("ip route replace %s via 192.168.50.1; ip route replace %s via fd50::1; ", h.IPv4, h.IPv6)
	}
	on(t, bed.Ext, far)
	undo(t, bed.Ext, strings.NewReplacer("replace", "del").Replace(far))
	undo(t, bed.Node2, "ip route del 240.168.50.201; ip route del 5d50::201")
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", Spec: []string{`loadBalancerSourceRanges: ["192.0.2.0/24", "2001:db8::/32"]`}}
		serve(t, d, testbed.Backends(bed.P1), s)
		t.Run("fresh", func(t *testing.T) {
			for _, f := range forgeries(s.LoadBalancer()) {
				f.forge(t)
				if f.remembered(t) {
					t.Errorf("conntrack remembers %s from %s to %s", f.network, f.image, f.by.Name)
				}
				f.follow(t)
			}
		})
		t.Run("older than the rules", func(t *testing.T) {
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
			on(t, bed.Node, binary+" cleanup; conntrack -F 2>&1; conntrack -F -f ipv6 2>&1")
			const other = " POSTROUTING -t mangle -m conntrack --ctstate INVALID -j RETURN" // has the kernel track connections
			on(t, bed.Node, "iptables -A"+other+"; ip6tables -A"+other)
			undo(t, bed.Node, "iptables -D"+other+"; ip6tables -D"+other)
			all := forgeries(s.LoadBalancer())
			for _, f := range all {
				f.forge(t)
				if !f.remembered(t) {
					t.Errorf("conntrack does not remember %s from %s to %s: this asks nothing", f.network, f.image, f.by.Name)
				}
			}
			restart(t, d)
			for _, f := range all {
				f.follow(t)
			}
		})
		answered(t, requests([]testbed.Frontend{s.ClusterIP(), s.NodePort()}, bed.C1, bed.Node, bed.Ext), anyone, "p1")
	})
}

// TestNodeInImagePrefix gives the node an address among images while kube-ipvs
// runs: it says so, and when it is gone.
func TestNodeInImagePrefix(t *testing.T) {
	d := start(t)
	settled(t, d)
	for _, a := range []string{"240.1.1.1/32", "6000::1/128"} {
		for _, step := range []struct{ do, said string }{{"add", "msg=problem"}, {"del", `msg="problem solved"`}} {
			on(t, bed.Node, fmt.Sprintf("ip addr %s %s dev eth0", step.do, a))
			err := testbed.Await(t.Context(), 10*time.Second, func() error {
				for line := range strings.Lines(d.Log()) {
					if strings.Contains(line, step.said) && strings.Contains(line, "its address "+a+" lies in the image prefix") {
						return nil
					}
				}
				return fmt.Errorf("after %s %s no line of the log says so", step.do, a)
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}
