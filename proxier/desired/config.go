// Package desired renders Services into the objects that the kernel should hold.
// Rendering is pure: the same Service, endpoints, Config and Facts always give the same
// objects. Table keeps the rendered objects, so that the cost of a change depends on its size.
package desired

import (
	"fmt"
	"net/netip"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Mode says where the virtual servers of ClusterIPs stand.
type Mode string

// The modes.
const (
	// Direct puts the virtual server on the ClusterIP itself, as ipvsadm users know it.
	// IPVS carries every packet of a connection, and ends the connections of a deleted
	// real server; therefore removed endpoints drain.
	Direct Mode = "direct"
	// Image puts it on the mapped address, which NETMAP makes of the ClusterIP.
	// IPVS chooses the endpoint of a connection's first packet and conntrack
	// carries the rest, past idle times, drains and deletions.
	Image Mode = "image"
)

// Config has the settings of a node, which depend on no Service.
type Config struct {
	Mode              Mode
	Scheduler         string          // for Services without annotation, such as "rr"
	IPv6              bool            // false: the node has no IPv6, and no object of that family is rendered
	Images            [2]Images       // IPv4, IPv6
	NodePortAddresses []netip.Prefix  // node addresses that serve node ports; a family without any serves on all
	Localhost         [2]bool         // IPv4, IPv6: node ports are served on loopback addresses of NodePortAddresses, or 127.0.0.1 if that holds all
	MasqueradeBit     uint8           // bit of the packet mark that asks for masquerade, 0 to 31
	MasqueradeAll     bool            // masquerade all traffic to ClusterIPs
	PodCIDRs          [2]netip.Prefix // source addresses of pods, IPv4 and IPv6; invalid: unknown
	NoExternalIPs     bool            // externalIPs of Services are not served (KEP-5707)
	PodInterface      string          // link by which pods send, or the beginning of its name and "+"; empty: PodCIDRs tell pods
	IPVSTCPTimeout    time.Duration   // idle time of TCP connections in IPVS; 0: as conntrack in direct mode, else as the kernel has it
	IPVSTCPFinTimeout time.Duration   // the same after a FIN; 0: as the kernel has it
	IPVSUDPTimeout    time.Duration   // idle time of UDP flows in IPVS; 0: as the kernel has it

	// Idle time of established and half-closed TCP connections in conntrack; 0: 24 h
	// and 1 h, as kube-proxy has it; negative: as the kernel has it.
	EstablishedTimeout, CloseWaitTimeout time.Duration

	// MaxFrontends is the most frontends (address, port and protocol) of one Service;
	// one with source ranges counts one more for each range. 0: no limit.
	MaxFrontends int
	// Protected are API servers that this node needs. Only default/kubernetes may have a
	// frontend at one of them, or at an endpoint of default/kubernetes; see guard.
	Protected []netip.AddrPort

	NodeName string // makes each node's order of real servers its own

	// Rising returns the weights of a virtual server's endpoints, of a Service with weights
	// or slow start; see balance.Starts. An endpoint with full weight 0 begins anew once it has
	// another. nil: all have their full weight.
	Rising func(s *model.Service, scheduler string, server state.ID, endpoints []netip.AddrPort, full []uint32) []uint32
	// Ejected returns which endpoints of a TCP virtual server, of a Service with eject-after,
	// must have weight 0, or nil for none; see eject.Watch. nil: none must.
	Ejected func(s *model.Service, server state.ID, endpoints []netip.AddrPort, weights []uint32) []bool
	// Missing returns why this kernel lacks one of state.Schedulers; nil: the kernel has
	// it. If Missing is nil, the kernel has all.
	Missing func(scheduler string) error

	// TCPBeLiberal says that conntrack takes TCP packets outside the window, since the
	// node sees one half of some connections. Then FORWARD does not drop packets that
	// conntrack cannot place, as with kube-proxy.
	TCPBeLiberal bool

	NoDevice bool // VIPs are routes alone: kube-ipvs0 exists for other programs, and no object needs it
}

// Images are the prefixes of mapped addresses of one family. Mapped addresses never
// leave the node: they exist between the NAT rules and IPVS.
type Images struct {
	Cluster  netip.Prefix // mapped addresses of frontends for clients inside the cluster, or for all clients
	Local    netip.Prefix // mapped addresses of frontends with externalTrafficPolicy Local for clients outside
	NodePort netip.Prefix // its addresses 0 to 3: the relay, node ports as in Cluster and as in Local, and the sink, see Rules
}

// DefaultImages are ranges that no network uses: class E (RFC 1112) for IPv4, and for
// IPv6 parts of the address space that IANA has not assigned. They replace so few leading
// bits that two addresses in use practically never share a mapped address.
var DefaultImages = [2]Images{
	{netip.MustParsePrefix("240.0.0.0/5"), netip.MustParsePrefix("248.0.0.0/6"), netip.MustParsePrefix("252.0.0.0/30")},
	{netip.MustParsePrefix("4000::/3"), netip.MustParsePrefix("6000::/3"), netip.MustParsePrefix("8000::/126")},
}

// Validate returns why the prefixes are unusable for a family, or nil.
func (im Images) Validate(family state.Family) error {
	all := im.All()
	for i, p := range all {
		if !p.IsValid() || state.FamilyOf(p.Addr()) != family || p != p.Masked() {
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

// Overlap names the image prefix that overlaps p, and its flag; "": none overlaps.
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

// nodePort returns the mapped addresses of node ports: that for clients inside the
// cluster or for all, and that for clients outside with policy Local.
func (im Images) nodePort() (cluster, local netip.Addr) {
	cluster = im.NodePort.Addr().Next()
	return cluster, cluster.Next()
}

// sink returns the address to which Rules translates packets of the node itself to a
// ClusterIP without endpoints.
func (im Images) sink() netip.Prefix {
	_, local := im.nodePort()
	return netip.PrefixFrom(local.Next(), local.BitLen())
}

// relayPort is the port of the relay. Localhost must be false if another program listens
// to this port at all addresses, since that would get the clients.
const relayPort = 1024 // a lower port needs CAP_NET_BIND_SERVICE

// Relay returns the address to which the rules send connections from loopback addresses
// to node ports of a family. It is invalid if these are not served.
func (c *Config) Relay(family state.Family) netip.AddrPort {
	if !c.Localhost[family] || family == state.IPv6 && !c.IPv6 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(c.Images[family].NodePort.Addr(), relayPort)
}

// ImageOf returns the mapped address of a: NETMAP replaces its leading bits by those of p.
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

// SeesAll reports whether IPVS sees every packet of a virtual server's connections, so
// that its counters of packets, bytes and open connections are right. With a mapped
// address IPVS sees the first packet of a connection only.
func (c *Config) SeesAll(server state.ID) bool { return !c.isImage(server.Addr()) }

// families returns the families in use.
func (c *Config) families() []state.Family { return state.Families(c.IPv6) }

// Overlap is Images.Overlap for the family of p.
func (c *Config) Overlap(p netip.Prefix) string {
	return c.Images[state.FamilyOf(p.Addr())].Overlap(p)
}

// Reserved returns why a is a mapped address, which nothing but kube-ipvs may use; "":
// it is none.
func (c *Config) Reserved(a netip.Addr) string {
	if !c.isImage(a) {
		return ""
	}
	return fmt.Sprintf("%s lies in %s of this node, whose addresses are for kube-ipvs alone", a, c.Overlap(netip.PrefixFrom(a, a.BitLen())))
}

// isImage reports whether a lies in a prefix of mapped addresses.
func (c *Config) isImage(a netip.Addr) bool {
	im := &c.Images[state.FamilyOf(a)]
	return im.Cluster.Contains(a) || im.Local.Contains(a) || im.NodePort.Contains(a)
}

// Drains reports whether a removed real server must drain, since its connections would
// end with it: IPVS sees every packet of its virtual server, and its protocol has connections.
func (c *Config) Drains(real state.ID) bool {
	if real.Proto == state.UDP {
		return false
	}
	return c.SeesAll(real.Server())
}
