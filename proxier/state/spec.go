package state

import "sync"

// SpecRef refers to a Spec that never changes: one word. Equal compares what is
// referred to; == would not, and does not compile. The zero SpecRef refers to
// nothing.
type SpecRef struct {
	_    [0]func()
	spec *spec
}

// spec is a Spec. Nearly every comment is on one object alone, and all else is
// the same on many.
type spec struct {
	text string
	rest *Spec // without text; there is one of a kind, as long as there are few
}

// Value returns the Spec. The zero SpecRef has none.
func (r SpecRef) Value() Spec {
	s := *r.spec.rest
	s.Text = r.spec.text
	return s
}

// Equal reports whether both refer to equal Specs, or to nothing.
func (r SpecRef) Equal(o SpecRef) bool {
	a, b := r.spec, o.spec
	return a == b || a != nil && b != nil && a.text == b.text && (a.rest == b.rest || *a.rest == *b.rest)
}

// mostKept bounds what is kept for good: the timeout of session affinity is
// anyone's to choose.
const mostKept = 1000

// few are the Specs without a Text, kept for good.
var few = struct {
	sync.RWMutex
	refs map[Spec]SpecRef
}{refs: map[Spec]SpecRef{}}

// Intern returns a reference to s.
func Intern(s Spec) SpecRef {
	if text := s.Text; text != "" {
		s.Text = ""
		return SpecRef{spec: &spec{text, Intern(s).spec.rest}}
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
		ref = SpecRef{spec: &spec{rest: new(s)}}
		if len(few.refs) < mostKept {
			few.refs[s] = ref
		}
	}
	return ref
}

// None is the Spec of objects that are only there or not there.
var None = Intern(Spec{})
