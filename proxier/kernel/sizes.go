package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/proxier/state"
)

// Entries is part of Reader. It costs a request a set of ours: others may have
// thousands of their own.
func (l *Linux) Entries(ctx context.Context) (int, error) {
	n := 0
	for _, family := range l.families() {
		for _, name := range state.SetNames() {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			set, err := l.ipset.Set(name.Kernel(family))
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
func (l *Linux) EachServer(_ context.Context, note func(state.ID, state.SpecRef)) error {
	return l.eachServer(note)
}

// EachRule is part of Reader.
func (l *Linux) EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error {
	return l.readRules(ctx, note, false)
}

// Cost is part of Reader.
func (l *Linux) Cost() time.Duration { return cpuTime() - l.opened }

// cpuTime returns what this process and those that it has waited for have taken.
func cpuTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
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
