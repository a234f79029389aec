package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kube-ipvs/ipset"
	"kube-ipvs/proxier/state"
)

// Entries is part of Reader. It costs a request a set of ours: others may have
// thousands of their own.
func (v *View) Entries(ctx context.Context) (int, error) {
	n := 0
	for _, family := range v.families() {
		for _, name := range state.SetNames() {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			set, err := v.ipset.Set(name.Kernel(family))
			if err != nil && !errors.Is(err, ipset.ErrNotFound) {
				return 0, fmt.Errorf("count entries: %w", err)
			}
			n += int(set.Entries) // of one that is not there: 0
		}
	}
	return n, nil
}

// EachServer is part of Reader. It costs one dump. What is taken over is as the
// last Read has found it.
func (v *View) EachServer(_ context.Context, note func(state.ID, state.SpecRef)) error {
	return v.eachServer(note)
}

// EachRule is part of Reader.
func (v *View) EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	return v.readRules(ctx, note, false)
}

// Cost is part of Reader.
func (s snapshot) Cost() time.Duration { return 0 }

// Entries is part of Reader.
func (s snapshot) Entries(context.Context) (int, error) { return s.Count()[state.Entry], nil }

// EachServer is part of Reader.
func (s snapshot) EachServer(_ context.Context, note func(state.ID, state.SpecRef)) error {
	return s.each(state.VirtualServer, note)
}

// EachRule is part of Reader.
func (s snapshot) EachRule(_ context.Context, note func(state.ID, state.SpecRef)) error {
	return s.each(state.Rules, note)
}

func (s snapshot) each(k state.Kind, note func(state.ID, state.SpecRef)) error {
	for id, spec := range s.All() {
		if id.Kind == k {
			note(id, spec)
		}
	}
	return nil
}
