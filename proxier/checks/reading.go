package checks

import (
	"context"
	"errors"
	"runtime"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// Reading is an audit or a look. It keeps no object, but a digest that the loop compares with
// the ledger's.
type Reading struct {
	look   bool // it reads only what is cheap
	began  time.Time
	end    context.CancelFunc
	digest state.Digest
	fills  state.Fills   // of an audit
	cost   time.Duration // of CPU
	stats  kernel.Stats
	err    error

	// Of a look.
	entries  int    // in the sets of kube-ipvs
	believed Belief // when it began
}

// run reads and closes the reader; err is the error of opening it.
func (r *Reading) run(ctx context.Context, reader kernel.Reader, err error) {
	if r.err = err; err == nil {
		r.err = errors.Join(r.read(ctx, reader), reader.Close())
		r.stats, r.cost = reader.Stats(), reader.Cost()
	}
	r.end()
}

// read adds the objects of the kernel to the digest.
func (r *Reading) read(ctx context.Context, from kernel.Reader) error {
	if !r.look {
		note := r.note()
		return from.Each(ctx, func(id state.ID, spec state.SpecRef, active, inactive uint32) {
			if id.Kind == state.RealServer {
				has := spec.Value()
				r.fills.Add(state.Load{Real: id, Weight: has.Weight, Upper: has.Upper, Active: active, Inactive: inactive})
			}
			note(id, spec)
		})
	}
	var err error
	if r.entries, err = from.Entries(ctx); err != nil {
		return err
	}
	note := r.note()
	return errors.Join(from.EachServer(ctx, note), from.EachRule(ctx, note))
}

// politeness is after how many objects a reading yields the CPU to other goroutines, for
// machines with one CPU. That many take about as long as one change; the Go runtime would
// yield after 10 ms.
const politeness = 256

// note returns a function that adds an object to the digest.
func (r *Reading) note() func(state.ID, state.SpecRef) {
	n := 0
	return func(id state.ID, spec state.SpecRef) {
		r.digest.Add(id, spec)
		if n++; n%politeness == 0 {
			runtime.Gosched()
		}
	}
}

// misses reports whether a look differs from b. Entries that the loop has written meanwhile
// may be counted or not.
func (r *Reading) misses(b Belief) bool {
	off := max(r.entries-r.believed.Entries, r.believed.Entries-r.entries)
	return b.Digest.LookDiffers(&r.digest) || uint64(off) > b.Written-r.believed.Written
}
