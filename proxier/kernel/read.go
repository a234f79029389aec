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
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// Read is part of Kernel.
func (v *View) Read(ctx context.Context) (*state.State, error) {
	s := &state.State{}
	return s, v.Each(ctx, func(id state.ID, spec state.SpecRef, _, _ uint32) { s.Put(id, spec) })
}

// Each is part of Reader. The number of dumps does not depend on Services. It costs one
// process for each family whose rules are not proved.
func (v *View) Each(ctx context.Context, counted func(id state.ID, spec state.SpecRef, active, inactive uint32)) error {
	note := func(id state.ID, spec state.SpecRef) { counted(id, spec, 0, 0) }
	err := v.open(ctx)
	if err != nil {
		return err
	}
	if v.adopts, err = v.adoption(ctx); err != nil {
		return err
	}
	if err := v.readSettings(note); err != nil {
		return err
	}
	listed := map[netip.Addr]bool{} // by SetVIPs
	err = v.readSets(func(id state.ID, spec state.SpecRef) {
		if id.Kind == state.Entry && id.Set == state.SetVIPs {
			listed[id.Addr()] = true
		}
		note(id, spec)
	})
	if err != nil {
		return err
	}
	if err := v.readVIPs(listed, note); err != nil {
		return err
	}
	err = v.readServers(ctx, note, func(real state.ID, d ipvs.Dest) { counted(real, realSpec(d), d.Active, d.Inactive) })
	if err != nil {
		return err
	}
	return v.readRules(ctx, note, true)
}

// put receives the objects that were read, each once.
type put = func(state.ID, state.SpecRef)

// readSettings leaves out a sysctl that cannot be read: it may appear with its module, the
// error of its write tells the reason, and no other object depends on it.
func (v *View) readSettings(note put) error {
	for _, k := range state.SettingKeys() {
		if k.Path() == "" {
			continue
		}
		if value, err := netutil.ReadSysctl(k.Path()); err == nil {
			note(state.SettingID(k), state.Intern(state.Spec{Text: value}))
		}
	}
	if v.ipvs == nil {
		return nil
	}
	tcp, fin, udp, err := v.ipvs.Timeouts()
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

// readSets reads kube-ipvs's sets and their entries.
func (v *View) readSets(note put) error {
	sets, err := v.ipset.Sets()
	if err != nil {
		return err
	}
	have := map[string]ipset.Set{}
	for _, set := range sets {
		have[set.Name] = set
	}
	for _, family := range v.families() {
		for _, name := range state.SetNames() {
			set, ok := have[name.Kernel(family)]
			if !ok || set.Type != ipset.Type(name.Type()) {
				continue
			}
			note(state.SetID(name, family), state.None)
			if err := v.readSet(note, name, set.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *View) readSet(note put, name state.SetName, kernel string) error {
	if err := v.openSets(); err != nil {
		return err
	}
	return v.ipset.List(kernel, func(e ipset.Entry) {
		spec := state.None
		if e.Comment != "" {
			spec = state.Intern(state.Spec{Text: e.Comment})
		}
		note(entryID(name, e), spec)
	})
}

// entryID returns the ID of an entry that the kernel lists.
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

// readVIPs reads the device, the VIPs, and the routes of mapped addresses. An address of the
// device is a VIP of kube-ipvs if SetVIPs has it, which comes first, if its route is
// kube-ipvs's, or if it is taken over.
func (v *View) readVIPs(listed map[netip.Addr]bool, note put) error {
	index, alias, exists, err := v.links.FindDummy(LinkName)
	if err != nil {
		return err
	}
	if !exists {
		index = noDevice
	} else if alias == netutil.Unfinished || v.adopts.device && alias != linkAlias {
		note(state.LinkID(), noAlias)
	} else {
		note(state.LinkID(), state.None)
	}
	routed, beaten, err := v.readRoutes(index, note)
	if err != nil {
		return err
	}
	if exists {
		if err := v.readAddresses(index, listed, routed, beaten); err != nil {
			return err
		}
	}
	for ip, spec := range routed {
		note(state.VIPID(ip), spec)
	}
	return nil
}

// readAddresses adds to routed the VIPs with an address on the device.
func (v *View) readAddresses(index int, listed map[netip.Addr]bool, routed map[netip.Addr]state.SpecRef, beaten map[netip.Addr]bool) error {
	addrs, err := v.links.AddressesOf(index)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		ip := a.Prefix.Addr()
		spec, ok := routed[ip]
		switch {
		case !a.Prefix.IsSingleIP(), !ok && !listed[ip] && !v.adopts.address(ip):
			continue // another program's
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

// readRoutes reads the routes of mapped addresses. It returns the VIPs that have a route of
// kube-ipvs, and those whose route loses against the kernel's own: for IPv6 each with such a
// route, for IPv4 if that comes first.
func (v *View) readRoutes(device int, note put) (routed map[netip.Addr]state.SpecRef, beaten map[netip.Addr]bool, err error) {
	routes, err := v.links.LocalRoutes()
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
		case r.Link != loopback:
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
