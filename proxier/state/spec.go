package state

import "sync"

// SpecRef refers to a Spec that never changes: one word. Equal compares what is
// referred to; == would not, and does not compile. The zero SpecRef refers to
// nothing.
type SpecRef struct {
	_    [0]func()
	spec *Spec
}

// Value returns the Spec. The zero SpecRef has none.
func (r SpecRef) Value() Spec { return *r.spec }

// Equal reports whether both refer to equal Specs, or to nothing.
func (r SpecRef) Equal(o SpecRef) bool {
	if r.spec == o.spec {
		return true
	}
	// Without a Text there is one of a kind.
	return r.spec != nil && o.spec != nil && r.spec.Text != "" && *r.spec == *o.spec
}

// few are the Specs without a Text: most objects share some, and they are kept
// for good. Nearly every comment, on the other hand, is on one object alone.
var few = struct {
	sync.RWMutex
	refs map[Spec]SpecRef
}{refs: map[Spec]SpecRef{}}

// Intern returns a reference to s.
func Intern(s Spec) SpecRef {
	if s.Text != "" {
		return SpecRef{spec: new(s)}
	}
	few.RLock()
	ref, known := few.refs[s]
	few.RUnlock()
	if known {
		return ref
	}
	few.Lock()
	defer few.Unlock()
	if ref, known = few.refs[s]; !known {
		ref = SpecRef{spec: new(s)}
		few.refs[s] = ref
	}
	return ref
}

// None is the Spec of objects that are only there or not there.
var None = Intern(Spec{})
