package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// service returns the virtual server that id names or belongs to, with its
// address in a buffer.
func service(id state.ID, spec state.Spec, in *[net.IPv6len]byte) moby.Service {
	return moby.Service{
		AddressFamily: uint16(inet(id.Addr())), Protocol: uint16(id.Proto), Address: octets(id.Addr(), in), Port: id.Port,
		SchedName: spec.Scheduler, Flags: spec.Flags, Timeout: spec.Timeout,
	}
}

// named returns a virtual server of which only the name counts.
func named(id state.ID) *moby.Service {
	svc := service(id, state.Spec{}, new([net.IPv6len]byte))
	return &svc
}

// octets returns an address that is in a buffer.
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

// judgeServer takes for stale what another writer explains. A scheduler that
// is missing is ENOENT too, and reading again does not bring it.
func judgeServer(op state.Op, errs []error) error {
	err := first(errs)
	if op.ID.Kind == state.VirtualServer && op.Verb == state.Add && errors.Is(err, unix.EEXIST) {
		err = fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if op.ID.Kind == state.VirtualServer {
		return stale(err, unix.EEXIST, unix.ESRCH)
	}
	return stale(err, unix.EEXIST, unix.ESRCH, unix.ENOENT)
}

// EachReal hands note the real servers that Read reads, with their connections. It costs
// one dump and one reading of the table in /proc. What is taken over is as the last Read
// has found it.
func (v *View) EachReal(ctx context.Context, note func(real state.ID, active, inactive uint32)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return v.readServers(ctx, func(state.ID, state.SpecRef) {}, func(real state.ID, d ipvs.Dest) { note(real, d.Active, d.Inactive) })
}

// readServers reads the virtual servers that bear our flag or are taken over,
// and their real servers.
func (v *View) readServers(ctx context.Context, server put, real func(state.ID, ipvs.Dest)) error {
	ours := map[state.ID]bool{}
	err := v.EachServer(ctx, func(id state.ID, spec state.SpecRef) {
		ours[id] = true
		server(id, spec)
	})
	if err != nil {
		return err
	}
	return eachReal(v.ipvs, ours, true, func(server state.ID, d ipvs.Dest) { real(state.RealServerID(server, d.Addr), d) })
}

// eachReal hands the real servers of some virtual servers to each, and empties of. It
// reads them from the table of all, and asks for those one by one that it does not have
// there: older kernels, as 5.10, leave some out where another network namespace has virtual
// servers, too (they count those of all as they go on, but not where they begin).
func eachReal(c *ipvs.Client, of map[state.ID]bool, byTable bool, each func(state.ID, ipvs.Dest)) error {
	if byTable {
		err := ipvs.ReadTable(func(key ipvs.ServiceKey, dests []ipvs.Dest) {
			server := serverID(key)
			if !of[server] {
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

// EachServer is part of Reader. It costs one dump. What is taken over is as the
// last Read has found it.
func (v *View) EachServer(_ context.Context, note func(state.ID, state.SpecRef)) error {
	if err := v.openServers(); err != nil {
		return err
	}
	return v.ipvs.EachService(func(svc moby.Service, _ ipvs.Stats) {
		if svc.FWMark != 0 || svc.Flags&state.FlagOurs == 0 && !v.adopts.service(&svc) {
			return
		}
		note(serverID(ipvs.KeyOf(&svc)), serverSpec(&svc))
	})
}

// serverSpec returns what a virtual server holds.
func serverSpec(svc *moby.Service) state.SpecRef {
	spec := state.Spec{Scheduler: svc.SchedName, Flags: svc.Flags}
	if svc.Flags&state.FlagPersistent != 0 {
		spec.Timeout = svc.Timeout
	}
	return state.Intern(spec)
}

// fewServers is how many virtual servers are asked one by one before reading
// the whole table is cheaper.
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

// serverID returns the ID of a virtual server that IPVS names by key.
func serverID(key ipvs.ServiceKey) state.ID {
	return state.VirtualServerID(state.Protocol(key.Proto), key.Addr)
}
