// Package ipfamily has the one type for an IP family, for packages that know nothing of each
// other.
package ipfamily

import (
	"net/netip"
	"syscall"
)

// Family is IPv4 or IPv6. It is the index in arrays with an element for each family.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

// Of returns the family of an address. An IPv4 address in IPv6 form is one of IPv6.
func Of(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String returns IPv4 or IPv6, which are the names in Kubernetes too.
func (f Family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

// Inet returns AF_INET or AF_INET6. Netfilter has the same numbers (NFPROTO_IPV4 and
// NFPROTO_IPV6).
func (f Family) Inet() uint8 { return [...]uint8{syscall.AF_INET, syscall.AF_INET6}[f] }

// Tool returns iptables or ip6tables.
func (f Family) Tool() string { return [...]string{"iptables", "ip6tables"}[f] }

// Network returns the name of a protocol in package net, such as tcp4 or udp6.
func (f Family) Network(protocol string) string { return protocol + [...]string{"4", "6"}[f] }

// Unspecified returns 0.0.0.0 or ::.
func (f Family) Unspecified() netip.Addr {
	return [...]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}[f]
}
