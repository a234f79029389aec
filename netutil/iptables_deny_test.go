package netutil

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// What may drop packets to port 80 of 10.96.0.10, over TCP.
func TestDenials(t *testing.T) {
	at := netip.MustParseAddrPort("10.96.0.10:80")
	mayHit := func(r Reach) bool {
		return (!r.Dst.IsValid() || r.Dst.Contains(at.Addr())) && (r.Protocol == "" || r.Protocol == "tcp") &&
			(r.Ports == nil || slices.ContainsFunc(r.Ports, func(p PortRange) bool { return p.First <= at.Port() && at.Port() <= p.Last }))
	}
	leaveOut := func(chain string) bool { return strings.HasPrefix(chain, "KUBE-") }
	for rules, want := range map[string]string{
		"-A INPUT -j DROP": "-A INPUT -j DROP", "-A INPUT -j ACCEPT": "", "-A FORWARD -j DROP": "",
		"-A INPUT -s 10.0.0.1/32 -j DROP": "-A INPUT -s 10.0.0.1/32 -j DROP", "-A INPUT -i cni0 -d 10.96.0.0/16 -j REJECT --reject-with icmp-port-unreachable": "-A INPUT -i cni0 -d 10.96.0.0/16 -j REJECT --reject-with icmp-port-unreachable",
		"-A INPUT -d 10.97.0.0/16 -j DROP": "", "-A INPUT ! -d 10.96.0.0/16 -j DROP": "-A INPUT ! -d 10.96.0.0/16 -j DROP",
		"-A INPUT -p tcp -m tcp --dport 80 -j DROP": "-A INPUT -p tcp -m tcp --dport 80 -j DROP", "-A INPUT -p tcp -m tcp --dport 81 -j DROP": "",
		"-A INPUT -p tcp -m multiport --dports 1,70:90 -j DROP": "-A INPUT -p tcp -m multiport --dports 1,70:90 -j DROP", "-A INPUT -p udp -m udp --dport 80 -j DROP": "",
		"-A INPUT -p tcp -m tcp ! --dport 22 -j DROP": "-A INPUT -p tcp -m tcp ! --dport 22 -j DROP", "-A INPUT -p icmp -j DROP": "", "-A INPUT -i lo -j DROP": "", "-A INPUT ! -i lo -j DROP": "-A INPUT ! -i lo -j DROP",
		"-A INPUT -m conntrack --ctstate INVALID -j DROP": "", "-A INPUT -m conntrack --ctstate NEW,INVALID -j DROP": "-A INPUT -m conntrack --ctstate NEW,INVALID -j DROP",
		"-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP": "-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP", "-A INPUT -m state ! --state NEW -j DROP": "",
		"-A INPUT -m addrtype --dst-type BROADCAST -j DROP": "", "-A INPUT -m comment --comment \"-d 1.2.3.4\" -j DROP": "-A INPUT -m comment --comment \"-d 1.2.3.4\" -j DROP",
		"-A INPUT -s 10.0.0.1/32 -j LOGDROP\n-A LOGDROP -j LOG\n-A LOGDROP -j DROP":        "-A INPUT -s 10.0.0.1/32 -j LOGDROP > -A LOGDROP -j DROP",
		"-A INPUT -p tcp -m multiport --dports 22 -j f2b\n-A f2b -s 10.0.0.1/32 -j REJECT": "", "-A INPUT -j KUBE-FIREWALL\n-A KUBE-FIREWALL -j DROP": "",
		":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT": "-P INPUT DROP", ":INPUT DROPPED [0:0]": "",
	} {
		if got := strings.Join(denialsIn("*filter\n"+rules+"\nCOMMIT\n", "INPUT", leaveOut, mayHit), "; "); got != want {
			t.Errorf("%s: %q", rules, got)
		}
	}
	// Chains that lead on by many ways come to an end.
	var many strings.Builder
	for i := range 60 {
		many.WriteString(strings.Repeat("-A "+strings.Repeat("x", i)+"INPUT -j "+strings.Repeat("x", i+1)+"INPUT\n", 2))
	}
	denialsIn(many.String(), "INPUT", leaveOut, mayHit)
}

// A table that the tool does not print is not one without such rules.
func TestDenialsNotPrinted(t *testing.T) {
	inNetns(t, func() {
		if err := NFT.Restore(t.Context(), IPv4, "*filter\n-A INPUT -j DROP\nCOMMIT\n"); err != nil {
			lacks(t, "iptables-nft: %v", err)
		}
		look := func() ([]string, error) {
			return NFT.Denials(t.Context(), IPv4, "INPUT", func(string) bool { return false }, func(Reach) bool { return true })
		}
		if got, err := look(); len(got) != 1 || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		unprintable(t, IPv4, "filter", "INPUT")
		if got, err := look(); err == nil || !strings.Contains(err.Error(), "incompatible") {
			t.Errorf("beside a rule that is not iptables': %q, %v", got, err)
		}
	})
}
