package state

import (
	"bytes"
	"cmp"
	"net/netip"
)

// address is a netip.Addr without its zone, and so without a pointer. The zero address is
// invalid.
type address struct {
	bytes  [16]byte // as netip.Addr.As16
	family uint8    // 4 or 6; 0: invalid
}

func addressOf(a netip.Addr) address {
	switch {
	case a.Is4():
		return address{a.As16(), 4}
	case a.Is6():
		return address{a.As16(), 6}
	}
	return address{}
}

func (a address) netip() netip.Addr {
	switch a.family {
	case 4:
		return netip.AddrFrom4([4]byte(a.bytes[12:]))
	case 6:
		return netip.AddrFrom16(a.bytes)
	}
	return netip.Addr{}
}

// compare orders as netip.Addr.Compare does.
func (a address) compare(b address) int {
	if c := cmp.Compare(a.family, b.family); c != 0 {
		return c
	}
	return bytes.Compare(a.bytes[:], b.bytes[:])
}
