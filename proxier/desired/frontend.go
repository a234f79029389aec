package desired

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Reach is the kind of address by which clients reach a frontend.
type Reach uint8

// The kinds of frontends.
const (
	ClusterIP Reach = iota
	LoadBalancer
	External
	NodePort
)

// String returns the kind as users of Kubernetes call it.
func (r Reach) String() string {
	return [...]string{"ClusterIP", "load-balancer IP", "external IP", "node port"}[r]
}

// Frontend is one address, port and protocol that clients of a Service dial, and the
// virtual servers behind it.
type Frontend struct {
	Reach Reach
	class class
	Port  int // index of the Service's port
	Proto state.Protocol
	Addr  netip.AddrPort // NodePort: the family's unspecified address
	Local bool           // policy Local
	// Server is the virtual server for clients inside the cluster, or for all clients.
	// LocalServer is the one for clients outside with policy Local; zero: none.
	Server, LocalServer state.ID
	sourced             bool // load-balancer source ranges apply

	// Only Table.Frontends sets these.
	Networks []netip.Prefix // NodePort: networks of the node addresses that serve it, as ipset takes them
	Lost     model.Key      // the other Service that has the frontend; zero: this one has it
}

// Family returns the family of the frontend's address.
func (f *Frontend) Family() state.Family { return state.FamilyOf(f.Addr.Addr()) }

// String returns the frontend's name in problems and reasons.
func (f Frontend) String() string {
	if f.Reach == NodePort {
		return fmt.Sprintf("node port %d/%s", f.Addr.Port(), f.Proto)
	}
	return fmt.Sprintf("%s %s/%s", f.Reach, f.Addr, f.Proto)
}

// field returns the field of a Service that asks for the frontend.
func (f Frontend) field() string {
	switch f.Reach {
	case ClusterIP:
		return "spec.clusterIPs"
	case LoadBalancer:
		return "status.loadBalancer.ingress"
	case External:
		return "spec.externalIPs"
	}
	return "spec.ports"
}

// claims appends the objects of the frontend that only one Service may have: the entry
// that publishes it, and the virtual servers behind it. A virtual server at the
// frontend's own address needs no claim: all others stand at mapped addresses.
func (f *Frontend) claims(to []claim) []claim {
	if f.Server.AddrPort() != f.Addr {
		to = append(to, claim{f.Server, f.class})
	}
	if f.LocalServer != (state.ID{}) {
		to = append(to, claim{f.LocalServer, f.class})
	}
	if f.Reach != NodePort {
		to = append(to, claim{state.EntryID(state.SetAll, f.Proto, f.Addr), f.class})
	}
	return to
}

func protocol(p corev1.Protocol) state.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return state.UDP
	case corev1.ProtocolSCTP:
		return state.SCTP
	}
	return state.TCP
}

// frontends are those of a Service, in order of precedence: the first of two kinds of
// one address counts, and of too many frontends the last are left out. ClusterIPs come
// before all others.
type frontends struct {
	all    []Frontend
	claims []claim           // those of all, in order, each ID once
	seen   map[state.ID]bool // the IDs of claims, once they are many
	cost   int               // the sum over all, see costs
	ranges [2]int            // number of load-balancer source ranges of IPv4 and IPv6
	// over counts frontends that were left out since they are too many, overSourced
	// those with source ranges.
	over, overSourced int
	wrong             faults // addresses with the mapped address of another
}

// list makes fs the frontends of s, without barred ClusterIPs.
func (fs *frontends) list(c *Config, s *model.Service, barred func(netip.Addr) bool) {
	*fs = frontends{all: fs.all[:0], claims: fs.claims[:0]}
	for _, n := range s.SourceRanges {
		fs.ranges[state.FamilyOf(n.Addr())]++
	}
	fs.each(s, s.ClusterIPs, func(i int, proto state.Protocol, ip netip.Addr) {
		if barred(ip) {
			return
		}
		fs.add(c, c.frontend(s, ClusterIP, i, proto, netip.AddrPortFrom(ip, s.Ports[i].Port)))
	})
	fs.each(s, s.ClusterIPs, func(i int, proto state.Protocol, ip netip.Addr) { // node ports answer in the Service's families
		if n := s.Ports[i].NodePort; n != 0 {
			fs.add(c, c.frontend(s, NodePort, i, proto, netip.AddrPortFrom(state.FamilyOf(ip).Unspecified(), n)))
		}
	})
	fs.each(s, s.LoadBalancerIPs, func(i int, proto state.Protocol, ip netip.Addr) {
		f := c.frontend(s, LoadBalancer, i, proto, netip.AddrPortFrom(ip, s.Ports[i].Port))
		f.sourced = fs.ranges[f.Family()] > 0
		fs.add(c, f)
	})
	fs.each(s, c.externalIPs(s), func(i int, proto state.Protocol, ip netip.Addr) {
		fs.add(c, c.frontend(s, External, i, proto, netip.AddrPortFrom(ip, s.Ports[i].Port)))
	})
}

// each calls add with each port of s and each of the addresses.
func (*frontends) each(s *model.Service, ips []netip.Addr, add func(port int, proto state.Protocol, ip netip.Addr)) {
	for i := range s.Ports {
		for _, ip := range ips {
			add(i, protocol(s.Ports[i].Protocol), ip)
		}
	}
}

func (fs *frontends) add(c *Config, f Frontend) {
	if f.Family() == state.IPv6 && !c.IPv6 || c.isImage(f.Addr.Addr()) {
		return
	}
	cost := fs.costs(&f)
	if c.MaxFrontends > 0 && fs.cost+cost > c.MaxFrontends {
		if f.sourced {
			fs.overSourced++
		} else {
			fs.over++
		}
		return
	}
	had := len(fs.claims)
	fs.claims = f.claims(fs.claims)
	for _, cl := range fs.claims[had:] {
		if fs.has(cl.id, had) {
			// An address that is named twice is served. Of two addresses with one mapped
			// address the second is left out, with all ports.
			if f.Port == 0 && !fs.has(state.EntryID(state.SetAll, f.Proto, f.Addr), had) {
				fs.wrong.add(f.field(), f.Addr.Addr().String(), "left out: another address of this Service "+
					"has the same mapped address, since they differ only in the leading bits that the image prefix replaces")
			}
			fs.claims = fs.claims[:had]
			return
		}
	}
	if fs.seen != nil {
		for _, cl := range fs.claims[had:] {
			fs.seen[cl.id] = true
		}
	}
	fs.cost += cost
	fs.all = append(fs.all, f)
}

// costs returns how many frontends f counts as for Config.MaxFrontends. Source ranges
// count: a thousand ports and two thousand ranges, an object of 50 kB, make two million entries.
func (fs *frontends) costs(f *Frontend) int {
	if f.sourced {
		return 1 + fs.ranges[f.Family()]
	}
	return 1
}

// has reports whether id is that of one of the first n claims.
func (fs *frontends) has(id state.ID, n int) bool {
	const few = 16
	if n <= few {
		return slices.ContainsFunc(fs.claims[:n], func(c claim) bool { return c.id == id })
	}
	if fs.seen == nil {
		fs.seen = make(map[state.ID]bool, 2*n)
		for _, c := range fs.claims[:n] {
			fs.seen[c.id] = true
		}
	}
	return fs.seen[id]
}

func (c *Config) externalIPs(s *model.Service) []netip.Addr {
	if c.NoExternalIPs {
		return nil
	}
	return s.ExternalIPs
}

// frontend returns the frontend of a Service's port at an address.
func (c *Config) frontend(s *model.Service, reach Reach, port int, proto state.Protocol, addr netip.AddrPort) Frontend {
	f := Frontend{Reach: reach, class: ofOthers, Port: port, Proto: proto, Addr: addr, Local: s.ExternalLocal}
	if reach == ClusterIP {
		f.class, f.Local = ofClusterIP, s.InternalLocal
		if s.Key == apiServer {
			f.class = ofAPIServer
		}
	}
	var some [2]state.ID
	behind := c.servers(some[:0], state.EntryID(f.set(), proto, addr))
	f.Server = behind[0]
	if len(behind) > 1 {
		f.LocalServer = behind[1]
	}
	return f
}

// set returns the set whose entry publishes the frontend.
func (f *Frontend) set() state.SetName {
	switch {
	case f.Reach == ClusterIP:
		return state.SetCluster
	case f.Reach == NodePort && f.Local:
		return state.SetNodePortLocal
	case f.Reach == NodePort:
		return state.SetNodePort
	case f.Local:
		return state.SetExternalLocal
	}
	return state.SetExternal
}

// Entries returns the entries that publish the frontend: for NodePort one for each of
// Networks.
func (f *Frontend) Entries() []state.ID {
	if f.Reach != NodePort {
		return []state.ID{state.EntryID(f.set(), f.Proto, f.Addr)}
	}
	var out []state.ID
	for _, p := range f.Networks {
		out = append(out, state.NetEntryID(f.set(), f.Proto, p, f.Addr.Port()))
	}
	return out
}

// Servers returns the virtual servers behind an entry that publishes a frontend: first
// Frontend.Server, then, for policy Local, Frontend.LocalServer. It returns nil for other
// objects.
func (c *Config) Servers(entry state.ID) []state.ID {
	if entry.Kind != state.Entry {
		return nil
	}
	return c.servers(nil, entry)
}

// servers appends the virtual servers behind an entry, see Servers.
func (c *Config) servers(to []state.ID, entry state.ID) []state.ID {
	im := &c.Images[entry.Family()]
	at := func(a netip.Addr) state.ID {
		return state.VirtualServerID(entry.Proto, netip.AddrPortFrom(a, entry.Port))
	}
	nodePort, nodePortLocal := im.nodePort()
	switch entry.Set {
	case state.SetCluster:
		if c.Mode == Direct {
			return append(to, at(entry.Addr()))
		}
		return append(to, at(ImageOf(entry.Addr(), im.Cluster)))
	case state.SetExternal:
		return append(to, at(ImageOf(entry.Addr(), im.Cluster)))
	case state.SetExternalLocal:
		return append(to, at(ImageOf(entry.Addr(), im.Cluster)), at(ImageOf(entry.Addr(), im.Local)))
	case state.SetNodePort:
		return append(to, at(nodePort))
	case state.SetNodePortLocal:
		return append(to, at(nodePort), at(nodePortLocal))
	}
	return to
}
