package proxier

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// failures are the writes that have failed and not succeeded since.
type failures map[state.ID]*failed

type failed struct {
	Failure
	since time.Time
	owner model.Key // who wants it; zero: not looked up, or no Service alone
	asked bool      // it was looked up
}

// note keeps the first moment and the last error.
func (fs failures) note(f Failure) {
	if old := fs[f.Op.ID]; old != nil {
		old.Failure = f
		return
	}
	fs[f.Op.ID] = &failed{Failure: f, since: time.Now()}
}

// neighbours reports whether the failure is no fault of the node: somebody
// else's object is in the way, or the write waits for another.
func (f *failed) neighbours() bool {
	return errors.Is(f.Err, kernel.ErrForeign) || errors.Is(f.Err, errWaits)
}

// sum forgets what is not pending any more and adds up the rest.
func (fs failures) sum(pending map[state.ID]state.Want) Failing {
	var out Failing
	var first *failed
	for id, f := range fs {
		if _, still := pending[id]; !still {
			delete(fs, id)
			continue
		}
		out.Count++
		if f.neighbours() {
			out.Others++
		} else if first == nil || f.since.Before(first.since) || f.since.Equal(first.since) && id.Compare(first.Op.ID) < 0 {
			first = f
		}
	}
	if first != nil {
		out.Since, out.First = first.since, first.String()
	}
	return out
}

// Unwritten is an object whose write has failed and not succeeded since.
type Unwritten struct {
	Failure
	Since time.Time // of the first failure
}

// mostUnwritten is how many a Round names: when the kernel takes nothing, all fail.
const mostUnwritten = 50

// longest returns those that have failed for the longest time.
func (fs failures) longest() []Unwritten {
	var out []Unwritten
	for id, f := range fs {
		at, _ := slices.BinarySearchFunc(out, f.since, func(u Unwritten, since time.Time) int {
			return cmp.Or(u.Since.Compare(since), u.Op.ID.Compare(id))
		})
		if at == mostUnwritten {
			continue
		}
		out = slices.Insert(out, at, Unwritten{f.Failure, f.since})
		out = out[:min(len(out), mostUnwritten)]
	}
	return out
}

// toldAfter is how long a write fails until its Service has a problem: a retry
// mends most failures at once.
const toldAfter = 2 * time.Second

// unwritten returns what Services miss because writes fail.
func (p *Proxier) unwritten() []model.Problem {
	lookup := map[state.ID]bool{}
	var told []*failed
	for id, f := range p.failing {
		if time.Since(f.since) < toldAfter || errors.Is(f.Err, errWaits) {
			continue
		}
		told = append(told, f)
		if !f.asked {
			lookup[id] = true
		}
	}
	if len(lookup) > 0 {
		for id, key := range p.table.Owners(lookup) {
			p.failing[id].owner = key
		}
	}
	var out []model.Problem
	for _, f := range told {
		f.asked = true
		if f.owner == (model.Key{}) {
			continue
		}
		pr := model.Problem{Object: "Service " + f.owner.String(), Message: f.String() + "; it is tried again"}
		if v, ok := p.model.View(f.owner); ok {
			pr.Origin, pr.UID = v.Origin, v.UID
		}
		out = append(out, pr)
	}
	return out
}
