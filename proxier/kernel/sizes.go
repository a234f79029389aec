package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/state"
)

// Sizes is what a look at the kernel shows that costs the same however much is
// programmed.
type Sizes struct {
	Servers int // of the virtual servers that were asked for: how many are there
	Entries int // in our sets
}

// Sizes is part of Kernel. It costs a list of all sets without their entries, and
// a request a virtual server.
func (l *Linux) Sizes(_ context.Context, servers []state.ID) (Sizes, error) {
	var out Sizes
	sets, err := l.ipset.Sets()
	if err != nil {
		return out, fmt.Errorf("list sets: %w", err)
	}
	ours := map[string]bool{}
	for _, family := range l.families() {
		for _, name := range state.SetNames() {
			ours[name.Kernel(family)] = true
		}
	}
	for _, set := range sets {
		if ours[set.Name] {
			out.Entries += int(set.Entries)
		}
	}
	for _, id := range servers {
		switch _, err := l.ipvs.Destinations(named(id)); {
		case err == nil:
			out.Servers++
		case !errors.Is(err, unix.ESRCH):
			return out, fmt.Errorf("look for %s: %w", id, err)
		}
	}
	return out, nil
}

// EachRule is part of Reader.
func (l *Linux) EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	return l.readRules(ctx, note, false)
}

// Sizes is part of Kernel.
func (f *Fake) Sizes(_ context.Context, servers []state.ID) (Sizes, error) {
	out := Sizes{Entries: f.State.Count()[state.Entry]}
	for _, id := range servers {
		if f.State.Has(id) {
			out.Servers++
		}
	}
	return out, f.ReadErr
}

// EachRule is part of Reader.
func (s snapshot) EachRule(_ context.Context, note func(state.ID, state.SpecRef)) error {
	for id, spec := range s.All() {
		if id.Kind == state.Rules {
			note(id, spec)
		}
	}
	return nil
}
