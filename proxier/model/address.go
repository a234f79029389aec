package model

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	utilsnet "k8s.io/utils/net"
)

// ParseAddr reads an address of an object of Kubernetes or of a configuration, as
// ParseIPSloppy of k8s.io/utils/net does and with it every API server and kube-proxy:
// a leading zero means nothing, so that 10.96.011.012 is 10.96.11.12, and ::ffff:10.96.0.1 is
// the IPv4 address. An address with a zone is not valid.
func ParseAddr(text string) (a netip.Addr, ok bool) {
	a, err := netip.ParseAddr(text) // nearly all, without an allocation
	if ok = err == nil && a.Zone() == ""; !ok {
		a, ok = netip.AddrFromSlice(utilsnet.ParseIPSloppy(text))
	}
	return a.Unmap(), ok
}

// ParsePrefix reads a range of addresses as ParseAddr does one address, and as
// ParseCIDRSloppy does. Bits behind the prefix are cleared.
func ParsePrefix(text string) (p netip.Prefix, ok bool) {
	_, n, err := utilsnet.ParseCIDRSloppy(text)
	if err != nil {
		return p, false
	}
	a, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if a.Is4In6() { // a prefix of less than 96 bits would clear its leading bits
		a, bits = a.Unmap(), bits-96
	}
	return netip.PrefixFrom(a, bits), true
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// parseAddr reads an address of a service or an endpoint. why is the fault of an address that
// they may not have, or empty.
func parseAddr(text string) (a netip.Addr, why string) {
	a, ok := ParseAddr(text)
	reason := ""
	switch {
	case !ok:
		return a, fmt.Sprintf("%q is not an IP address", text)
	case a.IsUnspecified():
		reason = "is the unspecified address"
	case a.IsLoopback():
		reason = "is a loopback address"
	case a.IsMulticast():
		reason = "is a multicast address"
	case a.IsLinkLocalUnicast():
		reason = "is a link-local address"
	case a == broadcast:
		reason = "is the broadcast address"
	default:
		return a, ""
	}
	return a, fmt.Sprintf("%q %s", text, reason)
}

// parseRange reads a source range, which may have blanks around it.
func parseRange(text string) (p netip.Prefix, why string) {
	p, ok := ParsePrefix(strings.TrimSpace(text))
	if !ok {
		why = fmt.Sprintf("%q is not an address range such as 10.0.0.0/8", text)
	}
	return p, why
}

// outermost sorts ranges and leaves out those inside of others. Each range that is left becomes
// a set entry for each port of a Service.
func outermost(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, netip.Prefix.Compare) // a range comes right before those in it
	out := all[:0]
	for _, p := range all {
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// portNumber returns n if it can be a port, else 0.
func portNumber(n int32) uint16 {
	if n < 1 || n > 65535 {
		return 0
	}
	return uint16(n)
}

func knownProtocol(p corev1.Protocol) bool {
	return p == corev1.ProtocolTCP || p == corev1.ProtocolUDP || p == corev1.ProtocolSCTP
}

// goodLabel reports whether s is a DNS label, as validation.IsDNS1123Label does. It uses no
// regular expression, since it runs for every name of every event.
func goodLabel(s string) bool {
	if len(s) == 0 || len(s) > validation.DNS1123LabelMaxLength {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}

// goodName reports whether s can be the name of an object such as a slice.
func goodName(s string) bool {
	return goodLabel(s) || len(validation.IsDNS1123Subdomain(s)) == 0
}
