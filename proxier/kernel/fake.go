package kernel

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/state"
)

// Fake is a Kernel in memory. It refuses the writes that the kernel refuses.
type Fake struct {
	State      *state.State        // the programmed objects
	NodeFacts  state.Facts         // the result of Facts
	Conns      map[state.ID]uint32 // connections of real servers
	Schedulers []string            // the schedulers that virtual servers may have
	NoDummy    bool                // the kernel has no dummy devices
	ReadErr    error               // the error of Read and Facts
	Reads      int                 // calls of Read
	Writes     int                 // ops given to Apply
	OnOp       func(state.Op)      // called after each op that succeeded

	flows fakeFlows
}

// NewFake returns an empty node.
func NewFake() *Fake {
	return &Fake{
		State: &state.State{}, Conns: map[state.ID]uint32{},
		Schedulers: []string{"rr", "wrr", "lc", "wlc", "sh", "mh", "dh"},
	}
}

// Facts is part of Kernel.
func (f *Fake) Facts(context.Context) (state.Facts, error) { return f.NodeFacts, f.ReadErr }

// Expect is part of Kernel.
func (f *Fake) Expect([2]string) {}

// Read is part of Kernel.
func (f *Fake) Read(context.Context) (*state.State, error) {
	f.Reads++
	if f.ReadErr != nil {
		return nil, f.ReadErr
	}
	return f.State.Clone(), nil
}

// Reader is part of Kernel. It reads the objects of this moment.
func (f *Fake) Reader(ctx context.Context) (Reader, error) {
	s, err := f.Read(ctx)
	return snapshot{s, maps.Clone(f.Conns)}, err
}

// snapshot is a Reader of the objects of one moment.
type snapshot struct {
	*state.State
	conns map[state.ID]uint32
}

// each calls note with the objects of one kind.
func (s snapshot) each(k state.Kind, note put) error {
	for id, spec := range s.All() {
		if id.Kind == k {
			note(id, spec)
		}
	}
	return nil
}

// Each is part of Reader. All connections are active.
func (s snapshot) Each(_ context.Context, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error {
	for id, spec := range s.All() {
		note(id, spec, s.conns[id], 0)
	}
	return nil
}

func (s snapshot) EachServer(_ context.Context, note put) error {
	return s.each(state.VirtualServer, note)
}
func (s snapshot) EachRule(_ context.Context, note put) error { return s.each(state.Rules, note) }

func (s snapshot) Entries(context.Context) (int, error) { return s.Count()[state.Entry], nil }
func (s snapshot) Cost() time.Duration                  { return 0 }
func (s snapshot) Stats() Stats                         { return Stats{Dumps: 1} }
func (s snapshot) Close() error                         { return nil }

// Apply is part of Kernel.
func (f *Fake) Apply(_ context.Context, plan state.Plan) []error {
	var errs []error
	for i, op := range plan {
		f.Writes++
		if err := f.apply(op); err != nil {
			if errs == nil {
				errs = make([]error, len(plan))
			}
			errs[i] = err
		} else if f.OnOp != nil {
			f.OnOp(op)
		}
	}
	return errs
}

func (f *Fake) apply(op state.Op) error {
	if err := f.refuse(op); err != nil {
		return err
	}
	f.State.Apply(op)
	if op.Verb != state.Delete {
		return nil
	}
	switch op.ID.Kind {
	case state.VirtualServer:
		f.cascade(func(id state.ID) bool { return id.Kind == state.RealServer && id.Server() == op.ID })
	case state.Set:
		f.cascade(func(id state.ID) bool {
			return id.Kind == state.Entry && id.Set == op.ID.Set && id.Family() == op.ID.Family()
		})
	case state.Link:
		f.bare()
	}
	return nil
}

// cascade removes the objects that the kernel removes with another.
func (f *Fake) cascade(gone func(state.ID) bool) {
	var all []state.ID
	for id := range f.State.All() {
		if gone(id) {
			all = append(all, id)
		}
	}
	for _, id := range all {
		f.State.Delete(id)
	}
}

// bare removes the addresses of the device; the routes of VIPs stay.
func (f *Fake) bare() {
	var ops []state.Op
	for id, spec := range f.State.All() {
		if id.Kind == state.VIP && !spec.Value().Bare {
			s := spec.Value()
			s.Bare = true
			ops = append(ops, state.Op{Verb: state.Change, ID: id, Spec: state.Intern(s)})
		}
	}
	for _, op := range ops {
		f.State.Apply(op)
	}
}

// refuse returns why the kernel would not do op.
func (f *Fake) refuse(op state.Op) error {
	// Objects of other kinds are replaced or removed whether they exist or not.
	if op.ID.Kind == state.VirtualServer || op.ID.Kind == state.RealServer {
		switch there := f.State.Has(op.ID); {
		case op.Verb == state.Add && there:
			return fmt.Errorf("%w: exists", ErrStale)
		case op.Verb != state.Add && !there:
			return fmt.Errorf("%w: does not exist", ErrStale)
		}
	}
	if err := f.refuseValue(op); err != nil {
		return err
	}
	leaves := op.Verb == state.Delete
	if k := op.ID.Kind; k == state.Rules && leaves || k == state.VIP && (leaves || op.Spec.Value().Bare) {
		return nil
	}
	for _, id := range state.Needs(nil, op.ID) {
		if !f.State.Has(id) {
			return fmt.Errorf("%w: %s does not exist", ErrStale, id)
		}
	}
	return nil
}

// refuseValue returns why the kernel would refuse op for its value, or because a rule uses
// its set.
func (f *Fake) refuseValue(op state.Op) error {
	switch kind := op.ID.Kind; {
	case kind == state.Link && op.Verb != state.Delete && f.NoDummy:
		f.NodeFacts.NoDevice = true
		return unix.EOPNOTSUPP
	case kind == state.VirtualServer && op.Verb != state.Delete:
		if s := op.Spec.Value().Scheduler; !slices.Contains(f.Schedulers, s) {
			return fmt.Errorf("the kernel has no IPVS scheduler %q", s)
		}
	case kind == state.Entry && op.ID.Set.Type() == state.HashNetPort && op.ID.Bits == 0:
		return fmt.Errorf("prefix length 0 is refused")
	case kind == state.Set && op.Verb == state.Delete:
		if f.State.Has(state.RulesID(op.ID.Family())) {
			return fmt.Errorf("set is in use by a rule")
		}
	}
	return nil
}

// Stats is part of Kernel: a message for each op.
func (f *Fake) Stats() Stats { return Stats{Messages: uint64(f.Writes), Dumps: uint64(f.Reads)} }

// Connections is part of Kernel.
func (f *Fake) Connections(_ context.Context, reals []state.ID) (map[state.ID]uint32, error) {
	out := map[state.ID]uint32{}
	for _, id := range reals {
		if f.State.Has(id) {
			out[id] = f.Conns[id]
		}
	}
	return out, f.ReadErr
}

// Loads is part of Kernel. All connections of Conns are active.
func (f *Fake) Loads(_ context.Context, server state.ID) ([]state.Load, error) {
	var out []state.Load
	for id, spec := range f.State.All() {
		if id.Kind == state.RealServer && id.Server() == server {
			out = append(out, state.Load{Real: id, Weight: spec.Value().Weight, Upper: spec.Value().Upper, Active: f.Conns[id], Began: uint64(f.Conns[id])})
		}
	}
	return out, f.ReadErr
}

// ProbeScheduler is part of Kernel.
func (f *Fake) ProbeScheduler(_ context.Context, name string) error {
	if !slices.Contains(f.Schedulers, name) {
		return fmt.Errorf("the kernel has no IPVS scheduler %q (module ip_vs_%s)", name, name)
	}
	return nil
}

var _ Kernel = (*Fake)(nil)
