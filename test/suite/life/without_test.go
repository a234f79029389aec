package life

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/netutil"
)

const switchedOff = "IPv6 is switched off on this node: Services are served over IPv4 alone"

// A machine whose kernel lacks a variant of iptables, or IPv6: the chart's containers,
// and then kube-ipvs on the host, find the usable variant by trying, and serve IPv4.
// They warn only of IPv6 that is switched off. Each part needs a fresh machine, and
// the last one a kernel that was told to do without IPv6.
func TestWithout(t *testing.T) {
	fresh(t)
	const conf = "/etc/modprobe.d/without.conf"
	t.Cleanup(func() { _ = os.Remove(conf) })
	for name, lack := range map[string]struct{ block, variant, told string }{
		"legacy":   {"install ip_tables /bin/false\ninstall ip6_tables /bin/false\n", "nft", ""},
		"nftables": {"install nf_tables /bin/false\n", "legacy", ""},
		"IPv6":     {"", "nft", switchedOff},
	} {
		t.Run(name, func(t *testing.T) {
			if netutil.HasIPv6() == (name == "IPv6") {
				t.Fatalf("IPv6 is there: %v", netutil.HasIPv6())
			}
			if err := os.WriteFile(conf, []byte(lack.block), 0o644); err != nil {
				t.Fatal(err)
			}
			n := newMachine(t)
			n.enrich()
			n.echo("10.244.0.7:8080")
			if !netutil.HasIPv6() {
				n.sh("modprobe -aq ip6table_filter ip6table_nat || :") // some kernels list these tables all the same
			}
			onHost := slices.Clone(n.flags)
			n.contain("auto")
			n.serves(lack.variant, lack.told)
			if netutil.HasIPv6() {
				n.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
				n.serves(lack.variant, switchedOff)
				n.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=0; ip -6 addr add fd50::1/64 dev eth0 nodad; ip -6 route add default via fd50::fe")
			}
			n.prefix, n.flags = nil, onHost
			n.serves(lack.variant, lack.told)
		})
	}
}

// echo has an endpoint answer on the node itself.
func (n *node) echo(at string) {
	n.t.Helper()
	host, _, _ := net.SplitHostPort(at)
	n.sh("ip addr add %s/32 dev lo", host)
	l, err := net.Listen("tcp", at)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
}

// serves starts, twice, and cleans up. The only warning is the given one; "" is none.
func (n *node) serves(variant, told string) {
	n.t.Helper()
	d := n.start()
	if r := d.first(); r.Failed != 0 {
		n.t.Errorf("%d writes of the first round failed", r.Failed)
	}
	n.settled()
	n.await(func() error {
		out, err := n.command("curl", "-sSf", "http://127.0.0.1:10256/readyz").CombinedOutput()
		if err != nil {
			return fmt.Errorf("not ready: %w: %s", err, out)
		}
		return nil
	})
	if c, err := net.Dial("tcp", "10.96.0.13:80"); err != nil {
		n.t.Errorf("an IPv4 Service is not served: %v", err)
	} else {
		_ = c.Close()
	}
	if !strings.Contains(d.Log(), `"iptables":"`+variant+`"`) {
		n.t.Errorf("it has not taken %s", variant)
	}
	d.stop()
	var warned []string
	for _, r := range d.records() {
		if r.Level != "INFO" && r.Level != "DEBUG" && r.Msg != "configuration" {
			warned = append(warned, r.Msg)
		}
	}
	if strings.Join(warned, "; ") != told {
		n.t.Errorf("it warns of %q, want %q", warned, told)
	}
	d = n.start()
	d.wroteNothing()
	d.stop()
	if n.cleanup() == 0 {
		n.t.Error("cleanup removed nothing")
	}
}
