package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// Glance reads parts of what is programmed. It has sockets of its own, so that
// reading never keeps the writer waiting. Only one goroutine may use it at a time.
type Glance struct{ view *View }

// OpenGlance opens the sockets.
func OpenGlance(ipv6 bool) (*Glance, error) {
	v := NewView(ipv6)
	if err := cmp.Or(opened(v, &v.ipvs, ipvs.Open), opened(v, &v.ipset, ipset.Open)); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return &Glance{v}, nil
}

// Close closes the sockets.
func (g *Glance) Close() error { return g.view.Close() }

// Frontends hands note the entries of the sets that publish frontends, name
// them or keep clients away from them. It costs a dump a set.
func (g *Glance) Frontends(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	for _, family := range g.view.families() {
		for _, name := range state.SetNames() {
			switch name {
			case state.SetSourceAllowed, state.SetHairpin, state.SetVIPs, state.SetHealth:
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := g.view.readSet(note, name, name.Kernel(family))
			if err != nil && !errors.Is(err, ipset.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// Servers hands note those of the virtual servers that are there and ours,
// and the real servers of each with their connections. It costs two requests
// a virtual server.
func (g *Glance) Servers(ctx context.Context, ids []state.ID, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error {
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.server(id, note); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("read %s: %w", id, err)
		}
	}
	return nil
}

func (g *Glance) server(id state.ID, note func(state.ID, state.SpecRef, uint32, uint32)) error {
	svc, err := g.view.ipvs.Service(named(id))
	if err != nil || svc.Flags&state.FlagOurs == 0 {
		return err
	}
	dests, err := g.view.ipvs.Destinations(&svc)
	if err != nil {
		return err
	}
	note(id, serverSpec(&svc), 0, 0)
	for _, d := range dests {
		note(state.RealServerID(id, d.Addr), state.Weight(d.Weight), d.Active, d.Inactive)
	}
	return nil
}

// EachReal hands note every real server of ours with its connections. It costs one dump
// and one reading of the table in /proc.
func (g *Glance) EachReal(ctx context.Context, note func(real state.ID, active, inactive uint32)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return g.view.EachReal(note)
}
