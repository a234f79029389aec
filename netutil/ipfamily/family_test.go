package ipfamily

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFamily(t *testing.T) {
	for _, tt := range []struct {
		addr, name, unspecified, tool, network string
		family                                 Family
		inet, netfilter                        uint8
	}{
		{"10.96.0.1", "IPv4", "0.0.0.0", "iptables", "tcp4", IPv4, unix.AF_INET, unix.NFPROTO_IPV4},
		{"fd96::1", "IPv6", "::", "ip6tables", "tcp6", IPv6, unix.AF_INET6, unix.NFPROTO_IPV6},
		{"::ffff:10.96.0.1", "IPv6", "::", "ip6tables", "tcp6", IPv6, unix.AF_INET6, unix.NFPROTO_IPV6},
	} {
		f := Of(netip.MustParseAddr(tt.addr))
		if f != tt.family || f.String() != tt.name || f.Unspecified().String() != tt.unspecified || f.Tool() != tt.tool || f.Network("tcp") != tt.network ||
			f.Inet() != tt.inet || f.Inet() != tt.netfilter {
			t.Errorf("%s: %s, %s, %s, %s, %d", tt.addr, f, f.Unspecified(), f.Tool(), f.Network("tcp"), f.Inet())
		}
	}
}
