package checks

import (
	"context"
	"errors"
	"runtime"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// Reading is an audit or a look. What it reads it does not keep: a digest tells whether
// it is what the loop takes the kernel to hold.
type Reading struct {
	look   bool // it reads what is cheap to read, and no more
	began  time.Time
	end    context.CancelFunc
	digest state.Digest
	cost   time.Duration // of CPU
	stats  kernel.Stats
	err    error

	// Of a look.
	entries  int    // in our sets
	believed Belief // when it began
}

// run reads and closes the reader; err is that of opening it.
func (r *Reading) run(ctx context.Context, reader kernel.Reader, err error) {
	if r.err = err; err == nil {
		r.err = errors.Join(r.read(ctx, reader), reader.Close())
		r.stats, r.cost = reader.Stats(), reader.Cost()
	}
	r.end()
}

// read sums up what there is.
func (r *Reading) read(ctx context.Context, from kernel.Reader) error {
	if !r.look {
		return from.Each(ctx, r.note())
	}
	var err error
	if r.entries, err = from.Entries(ctx); err != nil {
		return err
	}
	note := r.note()
	return errors.Join(from.EachServer(ctx, note), from.EachRule(ctx, note))
}

// politeness is after how many objects a reading lets others have the CPU, if there
// is but one: that many take about as long as one change. The Go runtime would do so
// after 10 ms.
const politeness = 256

// note returns what takes in an object that was read.
func (r *Reading) note() func(state.ID, state.SpecRef) {
	n := 0
	return func(id state.ID, spec state.SpecRef) {
		r.digest.Add(id, spec)
		if n++; n%politeness == 0 {
			runtime.Gosched()
		}
	}
}

// misses reports whether a look has seen something else than what the loop
// believes. Entries that it has written meanwhile may have been counted or not.
func (r *Reading) misses(b Belief) bool {
	off := max(r.entries-r.believed.Entries, r.believed.Entries-r.entries)
	return b.Digest.LookDiffers(&r.digest) || uint64(off) > b.Written-r.believed.Written
}
