package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Read is part of Kernel.
func (l *Linux) Read(ctx context.Context) (*state.State, error) {
	s := &state.State{}
	var err error
	if l.adopts, err = l.adoption(ctx); err != nil {
		return nil, err
	}
	return s, l.each(ctx, func(id state.ID, spec state.SpecRef) { s.Put(id, spec) })
}

// Reader is part of Kernel.
func (l *Linux) Reader(ctx context.Context) (Reader, error) {
	o := l.options
	o.Backend = l.backend
	r, err := OpenLinux(ctx, o)
	if err != nil {
		return nil, err
	}
	r.expected, r.proof, r.adopts, r.opened = l.expected, l.proof, l.adopts, cpuTime()
	return r, nil
}

// Each is part of Reader.
func (l *Linux) Each(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	var err error
	if l.adopts, err = l.adoption(ctx); err != nil {
		return err
	}
	return l.each(ctx, note)
}

// each costs a fixed number of dumps, however many Services there are, and a
// process a family if its rules are not proved.
func (l *Linux) each(ctx context.Context, note put) error {
	listed := map[netip.Addr]bool{} // by SetVIPs
	if err := l.readSettings(note); err != nil {
		return err
	}
	err := l.readSets(func(id state.ID, spec state.SpecRef) {
		if id.Kind == state.Entry && id.Set == state.SetVIPs {
			listed[id.Addr()] = true
		}
		note(id, spec)
	})
	if err != nil {
		return err
	}
	if err := l.readVIPs(listed, note); err != nil {
		return err
	}
	if err := l.readServers(note); err != nil {
		return err
	}
	return l.readRules(ctx, note, true)
}

// put takes what was read, each object once.
type put = func(state.ID, state.SpecRef)

func (l *Linux) families() []netip.Addr {
	if l.options.IPv6 {
		return []netip.Addr{state.IPv4, state.IPv6}
	}
	return []netip.Addr{state.IPv4}
}

// readSettings leaves out a sysctl that cannot be read: it may appear with its
// module, and writing it tells what is wrong with it. Nothing else rests on it.
func (l *Linux) readSettings(note put) error {
	for _, k := range state.SettingKeys() {
		if k.Path() == "" {
			continue
		}
		if v, err := netutil.ReadSysctl(k.Path()); err == nil {
			note(state.SettingID(k), state.Intern(state.Spec{Text: v}))
		}
	}
	tcp, fin, udp, err := l.ipvs.Timeouts()
	if err != nil {
		return fmt.Errorf("read the timeouts of IPVS: %w", err)
	}
	for k, d := range map[state.SettingKey]time.Duration{
		state.IPVSTCPTimeout: tcp, state.IPVSTCPFinTimeout: fin, state.IPVSUDPTimeout: udp,
	} {
		note(state.SettingID(k), state.Intern(state.Spec{Text: strconv.FormatInt(int64(d/time.Second), 10)}))
	}
	return nil
}

// readSets reads our sets and what is in them.
func (l *Linux) readSets(note put) error {
	sets, err := l.ipset.Sets()
	if err != nil {
		return err
	}
	have := map[string]ipset.Set{}
	for _, set := range sets {
		have[set.Name] = set
	}
	for _, family := range l.families() {
		for _, name := range state.SetNames() {
			set, ok := have[name.Kernel(family)]
			if !ok || set.Type != ipset.Type(name.Type()) {
				continue
			}
			note(state.SetID(name, family), state.None)
			if err := l.readSet(note, name, set.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Linux) readSet(note put, name state.SetName, kernel string) error {
	return l.ipset.List(kernel, func(e ipset.Entry) {
		spec := state.None
		if e.Comment != "" {
			spec = state.Intern(state.Spec{Text: e.Comment})
		}
		note(entryID(name, e), spec)
	})
}

// entryID names an entry of one of our sets as the kernel lists it.
func entryID(set state.SetName, e ipset.Entry) state.ID {
	var bits uint8
	switch set.Type() {
	case state.HashNetPort:
		bits = e.Bits
	case state.HashIPPortNet:
		bits = e.PeerBits
	}
	return state.MemberID(set, state.Protocol(e.Proto), netip.AddrPortFrom(e.Addr, e.Port), e.Peer, bits)
}

// readVIPs reads the device, the addresses on it that are ours, and the routes
// of images. An address is ours if SetVIPs has it, which it got before the
// address was added, or if the route is ours, or if it is taken over.
func (l *Linux) readVIPs(listed map[netip.Addr]bool, note put) error {
	index, alias, exists, err := l.links.FindDummy(LinkName)
	if err != nil {
		return err
	}
	if !exists {
		index = noDevice
	} else if alias == netutil.Unfinished || l.adopts.device && alias != linkAlias {
		note(state.LinkID(), noAlias)
	} else {
		note(state.LinkID(), state.None)
	}
	routed, beaten, err := l.readRoutes(index, note)
	if err != nil {
		return err
	}
	if exists {
		if err := l.readAddresses(index, listed, routed, beaten); err != nil {
			return err
		}
	}
	for ip, spec := range routed {
		note(state.VIPID(ip), spec)
	}
	return nil
}

// readAddresses notes in routed of which VIPs there is an address on the device.
func (l *Linux) readAddresses(index int, listed map[netip.Addr]bool, routed map[netip.Addr]state.SpecRef, beaten map[netip.Addr]bool) error {
	addrs, err := l.links.AddressesOf(index)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		ip := a.Prefix.Addr()
		spec, ok := routed[ip]
		switch {
		case !a.Prefix.IsSingleIP(), !ok && !listed[ip] && !l.adopts.address(ip):
			continue // somebody else's
		case !ok, beaten[ip], !a.IsVIP():
			spec = wrongRoute
		case spec.Value().Condition == state.Sound:
			bound := spec.Value()
			bound.Bare = false
			spec = state.Intern(bound)
		}
		routed[ip] = spec
	}
	return nil
}

// readRoutes reads the routes of images and returns what our routes say of
// VIPs, and which of these the kernel's own route wins over: of IPv4 if it comes first.
func (l *Linux) readRoutes(device int, note put) (routed map[netip.Addr]state.SpecRef, beaten map[netip.Addr]bool, err error) {
	routes, err := l.links.LocalRoutes()
	if err != nil {
		return nil, nil, err
	}
	routed, beaten = map[netip.Addr]state.SpecRef{}, map[netip.Addr]bool{}
	for _, r := range routes {
		ip, spec := r.Dst.Addr(), state.Spec{Source: r.Source, Bare: true}
		if r.MTULocked {
			spec.MTU = r.MTU
		}
		switch {
		case r.Protocol == unix.RTPROT_KERNEL && r.Link == device:
			_, behind := routed[ip]
			beaten[ip] = ip.Is6() || !behind
		case r.Protocol != netutil.RouteProtocol:
		case !r.Dst.IsSingleIP():
			note(state.RouteID(r.Dst), state.None)
		case r.Link != l.loopback:
			routed[ip] = wrongRoute // as kube-ipvs once made them
		default:
			routed[ip] = state.Intern(spec)
		}
	}
	return routed, beaten, nil
}

var (
	wrongRoute = state.Intern(state.Spec{Condition: state.WrongRoute})
	noAlias    = state.Intern(state.Spec{Condition: state.NoAlias})
)
