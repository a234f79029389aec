package ipvs

import (
	"encoding/binary"
	"math"
	"net"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// Commands and attributes, linux/ip_vs.h.
const (
	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3
	cmdGetService = 4
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7
	cmdGetDest    = 8
	cmdSetConfig  = 12
	cmdGetConfig  = 13

	attrService       = 1
	attrDest          = 2
	attrTimeoutTCP    = 4
	attrTimeoutTCPFin = 5
	attrTimeoutUDP    = 6

	svcAF        = 1
	svcProtocol  = 2
	svcAddr      = 3
	svcPort      = 4
	svcFWMark    = 5
	svcSchedName = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcPEName    = 11
	svcStats64   = 12

	destAddr       = 1
	destPort       = 2
	destForward    = 3
	destWeight     = 4
	destUpper      = 5
	destLower      = 6
	destActive     = 7
	destInactive   = 8
	destPersistent = 9
	destAF         = 11
	destStats64    = 12
)

// NewService appends the request that creates s, with exactly the flags of s. Timeout is the
// persistence timeout in seconds. Netmask groups clients for persistence: for IPv4 a mask in
// network byte order, for IPv6 a prefix length; 0: single addresses. The kernel refuses it
// with unix.EEXIST if s exists, and unix.ENOENT if it lacks the scheduler.
func (c *Client) NewService(b *netutil.Batch, s *moby.Service) {
	c.begin(b, cmdNewService)
	service(b, s, true)
}

// SetService appends the request that gives an existing service the scheduler, flags, timeout
// and netmask of s. Its destinations and connections stay. Idempotent. The kernel refuses it
// with unix.ESRCH if s does not exist.
func (c *Client) SetService(b *netutil.Batch, s *moby.Service) {
	c.begin(b, cmdSetService)
	service(b, s, true)
}

// DelService appends the request that removes s and its destinations. Only the fields that
// name s count. The kernel refuses it with unix.ESRCH if s does not exist.
func (c *Client) DelService(b *netutil.Batch, s *moby.Service) {
	c.begin(b, cmdDelService)
	service(b, s, false)
}

// NewDest appends the request that adds d to s. ConnectionFlags is the forwarding method; 0:
// masquerading. The kernel refuses it with unix.EEXIST if d exists, and unix.ESRCH if s does
// not.
func (c *Client) NewDest(b *netutil.Batch, s *moby.Service, d *moby.Destination) {
	c.begin(b, cmdNewDest)
	service(b, s, false)
	destination(b, d, true)
}

// SetDest appends the request that gives an existing destination the weight, thresholds and
// forwarding method of d. Its connections stay. Idempotent. The kernel refuses it with
// unix.ESRCH if s does not exist, and unix.ENOENT if d does not.
func (c *Client) SetDest(b *netutil.Batch, s *moby.Service, d *moby.Destination) {
	c.begin(b, cmdSetDest)
	service(b, s, false)
	destination(b, d, true)
}

// DelDest appends the request that removes d from s. Only the fields that name the two count.
// The kernel refuses it with unix.ESRCH if s does not exist, and unix.ENOENT if d does not.
func (c *Client) DelDest(b *netutil.Batch, s *moby.Service, d *moby.Destination) {
	c.begin(b, cmdDelDest)
	service(b, s, false)
	destination(b, d, false)
}

func (c *Client) begin(b *netutil.Batch, cmd byte) {
	b.Begin(c.family, 0, cmd, 1, 0, 0) // genlmsghdr: command, IPVS_GENL_VERSION
}

// service adds the name of s and, if full, its content.
func service(b *netutil.Batch, s *moby.Service, full bool) {
	at := b.Nest(attrService)
	af := family(s.AddressFamily, s.Address)
	b.U16(svcAF, af)
	if s.FWMark != 0 {
		b.U32(svcFWMark, s.FWMark)
	} else {
		b.U16(svcProtocol, s.Protocol)
		b.Attr(svcAddr, raw(af, s.Address)...)
		b.Be16(svcPort, s.Port)
	}
	if full {
		b.String(svcSchedName, s.SchedName)
		if s.PEName != "" {
			b.String(svcPEName, s.PEName)
		}
		var flags [8]byte // struct ip_vs_flags: the flags, and a mask of those to set
		binary.NativeEndian.PutUint32(flags[:], s.Flags)
		binary.NativeEndian.PutUint32(flags[4:], math.MaxUint32)
		b.Attr(svcFlags, flags[:]...)
		b.U32(svcTimeout, s.Timeout)
		b.U32(svcNetmask, netmask(af, s.Netmask))
	}
	b.End(at)
}

func destination(b *netutil.Batch, d *moby.Destination, full bool) {
	at := b.Nest(attrDest)
	af := family(d.AddressFamily, d.Address)
	b.U16(destAF, af)
	b.Attr(destAddr, raw(af, d.Address)...)
	b.Be16(destPort, d.Port)
	if full {
		b.U32(destForward, d.ConnectionFlags&moby.ConnectionFlagFwdMask)
		b.U32(destWeight, uint32(d.Weight))
		b.U32(destUpper, d.UpperThreshold)
		b.U32(destLower, d.LowerThreshold)
	}
	b.End(at)
}

// family returns told, or the address's family if told is 0.
func family(told uint16, ip net.IP) uint16 {
	switch {
	case told != 0:
		return told
	case ip.To4() != nil:
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func raw(af uint16, ip net.IP) []byte {
	if af == unix.AF_INET {
		return ip.To4()
	}
	return ip.To16()
}

// netmask replaces 0, which the kernel refuses for IPv6, and which for IPv4 makes all clients
// one.
func netmask(af uint16, mask uint32) uint32 {
	switch {
	case mask != 0:
		return mask
	case af == unix.AF_INET:
		return math.MaxUint32
	}
	return 128
}
