package model

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// parseAddr reads an address that a service or an endpoint may have. why says
// what is wrong with any other, and is empty otherwise.
func parseAddr(text string) (a netip.Addr, why string) {
	a, err := netip.ParseAddr(text)
	reason := ""
	switch {
	case err != nil:
		return a, fmt.Sprintf("%q is not an IP address", text)
	case a.Zone() != "":
		reason = "has a zone"
	case a.Is4In6():
		reason = "is an IPv4 address in IPv6 form"
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

// parseRange reads a source range. Bits behind the prefix are cleared, as API
// servers have always let them pass.
func parseRange(text string) (p netip.Prefix, why string) {
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	switch {
	case err != nil:
		return p, fmt.Sprintf("%q is not an address range such as 10.0.0.0/8", text)
	case p.Addr().Is4In6():
		return p, fmt.Sprintf("%q is an IPv4 range in IPv6 form", text)
	}
	return p.Masked(), ""
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

// goodLabel reports whether s is a DNS label, as validation.IsDNS1123Label does
// without a regular expression: every name is judged whenever it comes.
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
