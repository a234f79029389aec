package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// service returns the virtual server of id, which names it or a real server behind it.
// Its address is in the buffer.
func service(id state.ID, spec state.Spec, in *[net.IPv6len]byte) moby.Service {
	return moby.Service{
		AddressFamily: uint16(id.Family().Inet()), Protocol: uint16(id.Proto), Address: octets(id.Addr(), in), Port: id.Port,
		SchedName: spec.Scheduler, Flags: spec.Flags, Timeout: spec.Timeout,
	}
}

// named returns a virtual server that has a name and no content.
func named(id state.ID) *moby.Service {
	svc := service(id, state.Spec{}, new([net.IPv6len]byte))
	return &svc
}

// octets writes an address into a buffer and returns it.
func octets(a netip.Addr, in *[net.IPv6len]byte) net.IP {
	if a.Is4() {
		b := a.As4()
		return in[:copy(in[:], b[:])]
	}
	*in = a.As16()
	return in[:]
}

func (l *Linux) encodeServer(b *netutil.Batch, op *state.Op) error {
	id, spec := op.ID, op.Spec.Value()
	var here, there [net.IPv6len]byte
	svc := service(id, spec, &here)
	if id.Kind == state.VirtualServer {
		switch op.Verb {
		case state.Add:
			l.ipvs.NewService(b, &svc)
		case state.Change:
			l.ipvs.SetService(b, &svc)
		default:
			l.ipvs.DelService(b, &svc)
		}
		return nil
	}
	dest := moby.Destination{
		AddressFamily: svc.AddressFamily, Address: octets(id.Peer(), &there), Port: id.PeerPort,
		Weight: int(spec.Weight), ConnectionFlags: moby.ConnectionFlagMasq,
		// Without a lower threshold the kernel would give it no connections before it has a
		// quarter less.
		UpperThreshold: spec.Upper, LowerThreshold: spec.Upper,
	}
	switch op.Verb {
	case state.Add:
		l.ipvs.NewDest(b, &svc, &dest)
	case state.Change:
		l.ipvs.SetDest(b, &svc, &dest)
	default:
		l.ipvs.DelDest(b, &svc, &dest)
	}
	return nil
}

// judgeServer takes errors for stale that another writer explains. The kernel returns
// ENOENT for a missing scheduler too, which a new read does not mend.
func judgeServer(op state.Op, errs []error) error {
	err := first(errs)
	if op.ID.Kind == state.VirtualServer && op.Verb == state.Add && errors.Is(err, unix.EEXIST) {
		err = fmt.Errorf("%w: a virtual server at this address: %w", ErrForeign, err)
	}
	if op.ID.Kind == state.VirtualServer {
		return stale(err, unix.EEXIST, unix.ESRCH)
	}
	return stale(err, unix.EEXIST, unix.ESRCH, unix.ENOENT)
}

// EachReal calls note with the real servers that Read reads, and their connections. It
// costs one dump and one reading of the table in /proc. Of kube-proxy's virtual servers it
// has those that the last Read took over.
func (v *View) EachReal(ctx context.Context, note func(real state.ID, active, inactive uint32)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return v.readServers(ctx, func(state.ID, state.SpecRef) {}, func(real state.ID, d ipvs.Dest) { note(real, d.Active, d.Inactive) })
}

// readServers reads the virtual servers with FlagOurs and those that are taken over, and
// their real servers.
func (v *View) readServers(ctx context.Context, server put, real func(state.ID, ipvs.Dest)) error {
	ours := map[state.ID]bool{}
	err := v.EachServer(ctx, func(id state.ID, spec state.SpecRef) {
		ours[id] = true
		server(id, spec)
	})
	if err != nil || v.ipvs == nil {
		return err
	}
	return eachReal(v.ipvs, ours, true, func(server state.ID, d ipvs.Dest) { real(state.RealServerID(server, d.Addr), d) })
}

// realSpec returns the Spec of a real server.
func realSpec(d ipvs.Dest) state.SpecRef {
	if d.Upper == 0 {
		return state.Weight(d.Weight)
	}
	return state.Intern(state.Spec{Weight: d.Weight, Upper: d.Upper})
}

// eachReal calls each with the real servers of the virtual servers in of, and empties of. It
// reads the table in /proc, and asks one by one for the virtual servers whose real servers
// may have limits (see state.Serving), and for those that the table lacks: older kernels, as
// 5.10, leave some out if another network namespace has virtual servers too.
func eachReal(c *ipvs.Client, of map[state.ID]bool, byTable bool, each func(state.ID, ipvs.Dest)) error {
	if byTable {
		err := ipvs.ReadTable(func(key ipvs.ServiceKey, dests []ipvs.Dest) {
			server := serverID(key)
			if !of[server] || slices.ContainsFunc(dests, func(d ipvs.Dest) bool { return d.Weight > 1 }) {
				return
			}
			delete(of, server) // the table may have it twice
			for _, d := range dests {
				each(server, d)
			}
		})
		if err != nil {
			return err
		}
	}
	for server := range of {
		dests, err := c.Destinations(named(server))
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		for _, d := range dests {
			each(server, d.Dest)
		}
	}
	clear(of)
	return nil
}

// EachServer is part of Reader. It costs one dump. Of kube-proxy's virtual servers it has
// those that the last Read took over.
func (v *View) EachServer(_ context.Context, note func(state.ID, state.SpecRef)) error {
	if err := v.openServers(); err != nil || v.ipvs == nil {
		return err
	}
	return v.ipvs.EachService(func(svc moby.Service, _ ipvs.Stats) {
		if svc.FWMark != 0 || svc.Flags&state.FlagOurs == 0 && !v.adopts.service(&svc) {
			return
		}
		note(serverID(ipvs.KeyOf(&svc)), serverSpec(&svc))
	})
}

// serverSpec returns the Spec of a virtual server.
func serverSpec(svc *moby.Service) state.SpecRef {
	spec := state.Spec{Scheduler: svc.SchedName, Flags: svc.Flags}
	if svc.Flags&state.FlagPersistent != 0 {
		spec.Timeout = svc.Timeout
	}
	return state.Intern(spec)
}

// fewServers is the number of virtual servers beyond which reading the whole table is
// cheaper than a request for each.
const fewServers = 20

// Connections is part of Kernel.
func (v *View) Connections(_ context.Context, reals []state.ID) (map[state.ID]uint32, error) {
	if err := v.openServers(); err != nil {
		return nil, err
	}
	out := map[state.ID]uint32{}
	wanted := map[state.ID]bool{}
	at := map[state.ID]bool{}
	for _, id := range reals {
		wanted[id], at[id.Server()] = true, true
	}
	err := eachReal(v.ipvs, at, len(at) > fewServers, func(server state.ID, d ipvs.Dest) {
		if id := state.RealServerID(server, d.Addr); wanted[id] {
			out[id] = d.Active + d.Inactive
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Loads is part of Kernel.
func (v *View) Loads(_ context.Context, server state.ID) ([]state.Load, error) {
	if err := v.openServers(); err != nil {
		return nil, err
	}
	dests, err := v.ipvs.Destinations(named(server))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	var out []state.Load
	for _, d := range dests {
		out = append(out, state.Load{Real: state.RealServerID(server, d.Addr), Weight: d.Weight, Upper: d.Upper, Active: d.Active, Inactive: d.Inactive, Began: d.Stats.Connections})
	}
	return out, nil
}

// serverID returns the ID of the virtual server with a key of IPVS.
func serverID(key ipvs.ServiceKey) state.ID {
	return state.VirtualServerID(state.Protocol(key.Proto), key.Addr)
}
