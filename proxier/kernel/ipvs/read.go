package ipvs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// hashed is IP_VS_SVC_F_HASHED, which the kernel sets for itself.
const hashed = 0x0002

// ServiceKey names a virtual server. It is comparable.
type ServiceKey struct {
	Proto uint8
	Addr  netip.AddrPort
	// FWMark is the firewall mark of a service that takes packets by it, else 0. With a
	// mark Proto is 0, and Addr the family's unspecified address.
	FWMark uint32
}

// KeyOf returns the name of s.
func KeyOf(s *moby.Service) ServiceKey {
	af := family(s.AddressFamily, s.Address)
	if s.FWMark != 0 {
		a := netip.IPv4Unspecified()
		if af == unix.AF_INET6 {
			a = netip.IPv6Unspecified()
		}
		return ServiceKey{FWMark: s.FWMark, Addr: netip.AddrPortFrom(a, 0)}
	}
	a, _ := netip.AddrFromSlice(raw(af, s.Address))
	return ServiceKey{Proto: uint8(s.Protocol), Addr: netip.AddrPortFrom(a, s.Port)}
}

// Dest is a real server with its weight and connections.
type Dest struct {
	Addr     netip.AddrPort
	Weight   uint32
	Upper    uint32 // the connections at which it gets no new ones, 0 for any number; ReadTable does not have it
	Active   uint32 // established connections
	Inactive uint32 // connections in other states, and all of a protocol without states
}

// DestDetail is a Dest with the fields that ReadTable does not have.
type DestDetail struct {
	Dest
	Forward    uint32 // forwarding method; 0: masquerading
	Persistent uint32 // templates that bind clients to it
	Stats      Stats
}

// Stats counts the traffic of a virtual or real server since it was added. The kernel updates
// it every few seconds. It is zero before Linux 4.1.
type Stats struct {
	Connections, PacketsIn, PacketsOut, BytesIn, BytesOut uint64
}

// Services returns the virtual servers of the namespace, of any program, also those by
// firewall mark. Flags are without the kernel's own.
//
// The kernel holds no lock between the parts of a long answer, and does not report changes.
// No virtual server comes twice, but one may be missing if others come and go meanwhile, or
// for a moment after many were added: read again before you act on an absence.
func (c *Client) Services() ([]moby.Service, error) {
	var all []moby.Service
	err := c.EachService(func(s moby.Service, _ Stats) { all = append(all, s) })
	return all, err
}

// EachService calls each with every virtual server of Services and its Stats.
func (c *Client) EachService(each func(moby.Service, Stats)) error {
	seen := map[ServiceKey]bool{}
	c.b.Reset()
	c.begin(&c.b, cmdGetService)
	err := c.conn.Dump(&c.b, func(_ uint16, p []byte) error {
		s, stats, err := parseService(p)
		if err != nil {
			return err
		}
		if k := KeyOf(&s); !seen[k] {
			seen[k] = true
			each(s, stats)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the virtual servers: %w", Error(err))
	}
	return nil
}

// Destinations returns the real servers of s. Only the fields that name s count. The error is
// unix.ESRCH if s does not exist. For many services ReadTable costs a fraction.
func (c *Client) Destinations(s *moby.Service) ([]DestDetail, error) {
	var all []DestDetail
	c.b.Reset()
	c.begin(&c.b, cmdGetDest)
	service(&c.b, s, false)
	err := c.conn.Dump(&c.b, func(_ uint16, p []byte) error {
		d, err := parseDest(p)
		all = append(all, d)
		return err
	})
	if err == nil && len(all) == 0 {
		err = c.exists(s) // a dump does not fail for a missing service
	}
	if err != nil {
		return nil, fmt.Errorf("list the real servers of %v: %w", KeyOf(s), Error(err))
	}
	return all, nil
}

func (c *Client) exists(s *moby.Service) error {
	return c.get(s, func([]byte) error { return nil })
}

// Service returns the virtual server with the name of s. The error is unix.ESRCH if there is
// none.
func (c *Client) Service(s *moby.Service) (moby.Service, error) {
	var found moby.Service
	err := c.get(s, func(p []byte) (err error) {
		found, _, err = parseService(p)
		return err
	})
	if err != nil {
		return moby.Service{}, fmt.Errorf("read the virtual server %v: %w", KeyOf(s), Error(err))
	}
	return found, nil
}

func (c *Client) get(s *moby.Service, answer func([]byte) error) error {
	c.b.Reset()
	c.begin(&c.b, cmdGetService)
	service(&c.b, s, false)
	return c.conn.Get(&c.b, func(_ uint16, p []byte) error { return answer(p) })
}

func parseService(p []byte) (moby.Service, Stats, error) {
	var s moby.Service
	var stats Stats
	var addr []byte
	each(nested(p, attrService), func(a netutil.Attr) {
		switch a.Type {
		case svcAF:
			s.AddressFamily = u16(a.Data)
		case svcProtocol:
			s.Protocol = u16(a.Data)
		case svcAddr:
			addr = a.Data
		case svcPort:
			s.Port = be16(a.Data)
		case svcFWMark:
			s.FWMark = u32(a.Data)
		case svcSchedName:
			s.SchedName = text(a.Data)
		case svcFlags:
			s.Flags = u32(a.Data) &^ hashed
		case svcTimeout:
			s.Timeout = u32(a.Data)
		case svcNetmask:
			s.Netmask = u32(a.Data)
		case svcPEName:
			s.PEName = text(a.Data)
		case svcStats64:
			stats = parseStats(a.Data)
		}
	})
	if s.AddressFamily != unix.AF_INET && s.AddressFamily != unix.AF_INET6 {
		return s, stats, errMalformed
	}
	if s.FWMark != 0 {
		return s, stats, nil
	}
	ip, ok := parseAddr(s.AddressFamily, addr)
	s.Address = net.IP(ip.AsSlice())
	if !ok || s.Protocol == 0 || s.Protocol > 255 {
		return s, stats, errMalformed
	}
	return s, stats, nil
}

func parseDest(p []byte) (DestDetail, error) {
	var d DestDetail
	var af, port uint16
	var addr []byte
	each(nested(p, attrDest), func(a netutil.Attr) {
		switch a.Type {
		case destAF:
			af = u16(a.Data)
		case destAddr:
			addr = a.Data
		case destPort:
			port = be16(a.Data)
		case destForward:
			d.Forward = u32(a.Data) & moby.ConnectionFlagFwdMask
		case destWeight:
			d.Weight = u32(a.Data)
		case destUpper:
			d.Upper = u32(a.Data)
		case destActive:
			d.Active = u32(a.Data)
		case destInactive:
			d.Inactive = u32(a.Data)
		case destPersistent:
			d.Persistent = u32(a.Data)
		case destStats64:
			d.Stats = parseStats(a.Data)
		}
	})
	ip, ok := parseAddr(af, addr)
	d.Addr = netip.AddrPortFrom(ip, port)
	if !ok {
		return d, errMalformed
	}
	return d, nil
}

func parseStats(p []byte) Stats {
	var s Stats
	fields := [...]*uint64{1: &s.Connections, &s.PacketsIn, &s.PacketsOut, &s.BytesIn, &s.BytesOut}
	each(p, func(a netutil.Attr) {
		if a.Type >= 1 && int(a.Type) < len(fields) && len(a.Data) >= 8 {
			*fields[a.Type] = binary.NativeEndian.Uint64(a.Data)
		}
	})
	return s
}

// parseAddr reads an address, for which the kernel always sends 16 bytes.
func parseAddr(af uint16, p []byte) (netip.Addr, bool) {
	n := 16
	if af == unix.AF_INET {
		n = 4
	} else if af != unix.AF_INET6 {
		return netip.Addr{}, false
	}
	if len(p) < n {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(p[:n])
}

// attrs returns the attributes of a message, which follow its genlmsghdr.
func attrs(p []byte) []byte { return p[min(unix.GENL_HDRLEN, len(p)):] }

// nested returns the data of the message's attribute of a type.
func nested(p []byte, typ uint16) []byte {
	var found []byte
	each(attrs(p), func(a netutil.Attr) {
		if a.Type == typ {
			found = a.Data
		}
	})
	return found
}

func each(p []byte, f func(netutil.Attr)) {
	for a, rest, ok := netutil.NextAttr(p); ok; a, rest, ok = netutil.NextAttr(rest) {
		f(a)
	}
}

func text(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return string(p)
}

func u16(p []byte) uint16 {
	if len(p) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(p)
}

func be16(p []byte) uint16 {
	if len(p) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(p)
}

func u32(p []byte) uint32 {
	if len(p) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(p)
}
