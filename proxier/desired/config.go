// Package desired turns what the cluster says into what the kernel should
// hold. Rendering is pure: the same Service, endpoints, Config and Facts give the
// same objects, whatever has been written before. Table keeps what was
// rendered, so that a change costs what it changes.
package desired

import (
	"fmt"
	"net/netip"
	"time"

	"kube-ipvs/proxier/state"
)

// Mode says where the virtual servers of ClusterIPs stand.
type Mode string

// The modes.
const (
	// Direct puts the virtual server on the ClusterIP itself: what ipvsadm
	// users know. IPVS carries every packet of a connection, and ends those of
	// a real server that is deleted; removed endpoints therefore drain.
	Direct Mode = "direct"
	// Image puts it on a private address that NETMAP makes of the ClusterIP.
	// IPVS chooses the endpoint of a connection's first packet and conntrack
	// carries the rest, past idle times, drains and deletions.
	Image Mode = "image"
)

// Config is what does not depend on any Service.
type Config struct {
	Mode              Mode
	Scheduler         string          // for Services without annotation, such as "rr"
	IPv6              bool            // false: the node has no IPv6, nothing of that family is rendered
	Images            [2]Images       // IPv4, IPv6
	NodePortAddresses []netip.Prefix  // node addresses that serve node ports; a family without any serves on all
	Localhost         [2]bool         // IPv4, IPv6: node ports are served on loopback addresses of NodePortAddresses, or 127.0.0.1 if that holds all
	MasqueradeBit     uint8           // bit of the packet mark that asks for masquerade, 0 to 31
	MasqueradeAll     bool            // masquerade all traffic to ClusterIPs
	PodCIDRs          [2]netip.Prefix // source addresses of pods, IPv4 and IPv6; invalid: unknown
	NoExternalIPs     bool            // externalIPs of Services are not served (KEP-5707)
	PodInterface      string          // that traffic from pods comes in by, or how such begin, with "+" behind; empty: told by PodCIDRs
	IPVSTCPTimeout    time.Duration   // that IPVS keeps idle TCP connections; 0: as conntrack in direct mode, else as the kernel has it
	IPVSTCPFinTimeout time.Duration   // that IPVS keeps TCP connections after a FIN; 0: as the kernel has it
	IPVSUDPTimeout    time.Duration   // that IPVS keeps idle UDP flows; 0: as the kernel has it

	// That conntrack keeps idle and half-closed TCP connections; 0: 24 h and
	// 1 h, as kube-proxy does; negative: as the kernel has it.
	EstablishedTimeout, CloseWaitTimeout time.Duration

	// MaxFrontends is how many frontends one Service may have, each an address,
	// port and protocol; one with source ranges counts one more for each of these.
	// 0: any number.
	MaxFrontends int
	// Protected are API servers that this node needs. No Service but default/kubernetes
	// takes their place; nor that of an endpoint of that one.
	Protected []netip.AddrPort

	NodeName string // makes each node's order of real servers its own

	// Missing tells why this kernel lacks one of state.Schedulers, or nil when
	// it has it. Nil means that all are there.
	Missing func(scheduler string) error

	// TCPBeLiberal says that conntrack takes TCP packets outside the window, for
	// the sake of connections of which the node sees one half: packets that it
	// cannot place are then not dropped where they are forwarded, as kube-proxy has it.
	TCPBeLiberal bool

	NoDevice bool // VIPs are routes alone: kube-ipvs0 is there for others, and nothing needs it
}

// Images are the private prefixes of one family. Addresses in them never
// leave the node: they exist between the NAT rules and IPVS.
type Images struct {
	Cluster  netip.Prefix // images of frontends as all of the cluster sees them
	Local    netip.Prefix // images of externalTrafficPolicy Local frontends as seen from outside
	NodePort netip.Prefix // its addresses 0 to 3: the relay; node ports, cluster view and local view; and the sink, see Rules
}

// DefaultImages are ranges that no network uses: class E for IPv4, and for
// IPv6 parts of the address space that IANA has not assigned. So few leading
// bits are replaced that two addresses in use practically never share an image.
var DefaultImages = [2]Images{
	{netip.MustParsePrefix("240.0.0.0/5"), netip.MustParsePrefix("248.0.0.0/6"), netip.MustParsePrefix("252.0.0.0/30")},
	{netip.MustParsePrefix("4000::/3"), netip.MustParsePrefix("6000::/3"), netip.MustParsePrefix("8000::/126")},
}

// Validate returns what makes the prefixes unusable. four says of which
// family they must be.
func (im Images) Validate(four bool) error {
	all := im.All()
	for i, p := range all {
		if !p.IsValid() || p.Addr().Is4() != four || p != p.Masked() {
			return fmt.Errorf("image prefix %s is not a network of the right family", p)
		}
		for _, q := range all[:i] {
			if p.Overlaps(q) {
				return fmt.Errorf("image prefixes %s and %s overlap", q, p)
			}
		}
	}
	if im.NodePort.Addr().BitLen()-im.NodePort.Bits() < 2 {
		return fmt.Errorf("image prefix %s holds fewer than the four addresses that node ports need", im.NodePort)
	}
	return nil
}

// All returns the three prefixes.
func (im Images) All() []netip.Prefix { return []netip.Prefix{im.Cluster, im.Local, im.NodePort} }

// Overlap names the image prefix that p shares addresses with, and the flag that
// moves it; it returns nothing if p is free of images.
func (im Images) Overlap(p netip.Prefix) string {
	for i, q := range im.All() {
		if !q.Overlaps(p) {
			continue
		}
		flag := [...]string{"--image-prefix", "--image-prefix-local", "--image-prefix-nodeport"}[i]
		if q.Addr().Is6() {
			flag += "6"
		}
		return fmt.Sprintf("the image prefix %s (%s)", q, flag)
	}
	return ""
}

// Contain reports whether p lies in one of the image prefixes.
func (im Images) Contain(p netip.Prefix) bool {
	for _, q := range im.All() {
		if q.Bits() <= p.Bits() && q.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// nodePort returns the address for node ports as all of the cluster sees
// them, and the one for policy Local seen from outside.
func (im Images) nodePort() (cluster, local netip.Addr) {
	cluster = im.NodePort.Addr().Next()
	return cluster, cluster.Next()
}

// sink returns where Rules sends what the node itself dials without endpoints.
func (im Images) sink() netip.Prefix {
	_, local := im.nodePort()
	return netip.PrefixFrom(local.Next(), local.BitLen())
}

// relayPort is where the relay listens. Another program that has the port of all
// addresses would get the clients: Localhost is to be false then.
const relayPort = 1024 // to listen below needs a right

// Relay returns where the rules send the connections to node ports, in the family of
// a, whose source is a loopback address. It is invalid where these are not served.
func (c *Config) Relay(a netip.Addr) netip.AddrPort {
	if !c.Localhost[index(a)] || a.Is6() && !c.IPv6 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(c.images(a).NodePort.Addr(), relayPort)
}

// ImageOf returns what NETMAP makes of an address with one of the prefixes of images: it
// replaces the leading bits.
func ImageOf(a netip.Addr, p netip.Prefix) netip.Addr {
	from, to := a.As16(), p.Addr().As16()
	bits := p.Bits() + 128 - a.BitLen()
	for i := range from {
		keep := byte(0xff)
		if n := bits - 8*i; n >= 8 {
			keep = 0
		} else if n > 0 {
			keep = 0xff >> n
		}
		to[i] |= from[i] & keep
	}
	image := netip.AddrFrom16(to)
	if a.Is4() {
		return image.Unmap()
	}
	return image
}

// index returns 0 for IPv4 and 1 for IPv6.
func index(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// images returns the prefixes for the family of a.
func (c *Config) images(a netip.Addr) Images { return c.Images[index(a)] }

// SeesAll reports whether IPVS sees every packet of the connections that a
// virtual server takes, so that its counters of packets and bytes are whole,
// and those of open connections true. Behind an image it sees the first packet.
func (c *Config) SeesAll(server state.ID) bool { return !c.isImage(server.Addr()) }

// families returns the families in use.
func (c *Config) families() []netip.Addr {
	if c.IPv6 {
		return []netip.Addr{state.IPv4, state.IPv6}
	}
	return []netip.Addr{state.IPv4}
}

// Overlap is that of the prefixes of p's family.
func (c *Config) Overlap(p netip.Prefix) string { return c.images(p.Addr()).Overlap(p) }

// Reserved tells why an address can only be this node's, between NAT and
// IPVS, or nothing.
func (c *Config) Reserved(a netip.Addr) string {
	if !c.isImage(a) {
		return ""
	}
	return fmt.Sprintf("%s lies in %s of this node, whose addresses nothing else may have", a, c.Overlap(netip.PrefixFrom(a, a.BitLen())))
}

// isImage reports whether a lies in a range that is ours alone.
func (c *Config) isImage(a netip.Addr) bool {
	im := &c.Images[index(a)]
	return im.Cluster.Contains(a) || im.Local.Contains(a) || im.NodePort.Contains(a)
}

// Drains reports whether a real server that is not wanted any more has
// connections that end with it, so that it must drain: it stands behind a
// virtual server that carries every packet, and its protocol has connections.
func (c *Config) Drains(real state.ID) bool {
	if real.Proto == state.UDP {
		return false
	}
	return c.SeesAll(real.Server())
}
