package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Read is part of Kernel. It costs a fixed number of dumps, however many
// Services there are, and one run of iptables-save a family.
func (l *Linux) Read(ctx context.Context) (*state.State, error) {
	s := &state.State{}
	var err error
	if l.adopts, err = l.adoption(ctx); err != nil {
		return nil, err
	}
	for _, read := range []func(context.Context, *state.State) error{
		l.readSettings, l.readSets, l.readVIPs, l.readServers, l.readRules,
	} {
		if err := read(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (l *Linux) families() []netip.Addr {
	if l.options.IPv6 {
		return []netip.Addr{state.IPv4, state.IPv6}
	}
	return []netip.Addr{state.IPv4}
}

func (l *Linux) readSettings(_ context.Context, s *state.State) error {
	for _, k := range state.SettingKeys() {
		if k.Path() == "" {
			continue
		}
		v, err := netutil.ReadSysctl(k.Path())
		if errors.Is(err, unix.ENOENT) {
			continue // appears with the module; wanted, it is written then
		}
		if err != nil {
			return err
		}
		s.Put(state.SettingID(k), state.Intern(state.Spec{Text: v}))
	}
	tcp, fin, udp, err := l.ipvs.Timeouts()
	if err != nil {
		return fmt.Errorf("read the timeouts of IPVS: %w", err)
	}
	for k, d := range map[state.SettingKey]time.Duration{
		state.IPVSTCPTimeout: tcp, state.IPVSTCPFinTimeout: fin, state.IPVSUDPTimeout: udp,
	} {
		s.Put(state.SettingID(k), state.Intern(state.Spec{Text: strconv.FormatInt(int64(d/time.Second), 10)}))
	}
	return nil
}

// readSets reads our sets and what is in them.
func (l *Linux) readSets(_ context.Context, s *state.State) error {
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
			s.Put(state.SetID(name, family), state.None)
			if err := l.readSet(s, name, set.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Linux) readSet(s *state.State, name state.SetName, kernel string) error {
	return l.ipset.List(kernel, func(e ipset.Entry) {
		var bits uint8
		switch name.Type() {
		case state.HashNetPort:
			bits = e.Bits
		case state.HashIPPortNet:
			bits = e.PeerBits
		}
		id := state.MemberID(name, state.Protocol(e.Proto), netip.AddrPortFrom(e.Addr, e.Port), e.Peer, bits)
		spec := state.None
		if e.Comment != "" {
			spec = state.Intern(state.Spec{Text: e.Comment})
		}
		s.Put(id, spec)
	})
}

// readVIPs reads the device, the addresses on it that are ours, and the routes
// of images. An address is ours if SetVIPs has it, which it got before the
// address was added, or if the route is ours, or if it is taken over.
func (l *Linux) readVIPs(_ context.Context, s *state.State) error {
	index, alias, exists, err := l.links.FindDummy(LinkName)
	if err != nil {
		return err
	}
	routes, err := l.links.LocalRoutes()
	if err != nil {
		return err
	}
	vips := map[netip.Addr]state.SpecRef{} // by our routes
	beaten := map[netip.Addr]bool{}        // the kernel's own route is there, which may win over ours
	for _, r := range routes {
		switch ip := r.Dst.Addr(); {
		case r.Protocol == unix.RTPROT_KERNEL && exists && r.Link == index:
			beaten[ip] = true
		case r.Protocol != netutil.RouteProtocol:
		case r.Dst.IsSingleIP():
			spec := state.Spec{Source: r.Source}
			if r.MTULocked {
				spec.MTU = r.MTU
			}
			vips[ip] = state.Intern(spec)
			if l.options.Binding == netutil.BindRoute && r.Link != l.loopback {
				vips[ip] = wrongRoute // of BindAddress
			}
		default:
			s.Put(state.RouteID(r.Dst), state.None)
		}
	}
	for ip, spec := range vips {
		if l.options.Binding != netutil.BindRoute {
			spec = wrongRoute // until its address is found: IPv6 routes outlive the device
		}
		s.Put(state.VIPID(ip), spec)
	}
	if !exists {
		return nil
	}
	s.Put(state.LinkID(), state.None)
	if l.adopts.device && alias != linkAlias {
		s.Put(state.LinkID(), foreignLink)
	}
	addrs, err := l.links.Addresses()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.Link != index || !a.Prefix.IsSingleIP() {
			continue
		}
		ip := a.Prefix.Addr()
		spec, routed := vips[ip]
		if listed := s.Has(state.VIPEntryID(ip)); !routed && !listed && !l.adopts.address(ip) {
			continue // somebody else's
		}
		if !routed || beaten[ip] || l.options.Binding == netutil.BindRoute {
			spec = wrongRoute
		}
		s.Put(state.VIPID(ip), spec)
	}
	return nil
}

// wrongRoute is the Spec of a VIP whose address or route is not as it should
// be: equal to none that is wanted, so that it is mended.
var wrongRoute = state.Intern(state.Spec{Text: "wrong route"})

func (l *Linux) readRules(ctx context.Context, s *state.State) error {
	for _, family := range l.families() {
		have, err := l.rules(ctx, family)
		if err != nil {
			return err
		}
		if netutil.Equal(have, netutil.Ruleset{}) {
			continue
		}
		spec := state.Spec{Text: l.expected[number(family)/6]}
		want, err := netutil.ParseRules(spec.Text, prefix(family))
		if err != nil {
			return err
		}
		if !netutil.Equal(have, want) {
			spec.Text = "changed" // equal to nothing that is wanted
		}
		s.Put(state.RulesID(family), state.Intern(spec))
	}
	return nil
}

func (l *Linux) rules(ctx context.Context, family netip.Addr) (netutil.Ruleset, error) {
	l.execs++
	have, err := l.backend.ReadRules(ctx, number(family), prefix(family))
	if err != nil {
		return have, fmt.Errorf("read IPv%d rules: %w", number(family), err)
	}
	return have, nil
}

func prefix(family netip.Addr) string {
	if family.Is4() {
		return state.Prefix4
	}
	return state.Prefix6
}

func number(family netip.Addr) int {
	if family.Is4() {
		return 4
	}
	return 6
}
