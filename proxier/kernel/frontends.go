package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/proxier/state"
)

// Frontends calls note with the entries of the sets that publish, name or refuse frontends.
// It costs one dump a set.
func (v *View) Frontends(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	for _, family := range v.families() {
		for _, name := range state.SetNames() {
			switch name {
			case state.SetSourceAllowed, state.SetHairpin, state.SetVIPs, state.SetHealth:
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := v.readSet(note, name, name.Kernel(family))
			if err != nil && !errors.Is(err, ipset.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// Servers calls note with the virtual servers of ids that exist and are kube-ipvs's, and
// with the real servers of each and their connections. It costs two requests a virtual server.
func (v *View) Servers(ctx context.Context, ids []state.ID, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error {
	if err := v.openServers(); err != nil {
		return err
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.server(id, note); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("read %s: %w", id, err)
		}
	}
	return nil
}

func (v *View) server(id state.ID, note func(state.ID, state.SpecRef, uint32, uint32)) error {
	svc, err := v.ipvs.Service(named(id))
	if err != nil || svc.Flags&state.FlagOurs == 0 {
		return err
	}
	dests, err := v.ipvs.Destinations(&svc)
	if err != nil {
		return err
	}
	note(id, serverSpec(&svc), 0, 0)
	for _, d := range dests {
		note(state.RealServerID(id, d.Addr), realSpec(d.Dest), d.Active, d.Inactive)
	}
	return nil
}
