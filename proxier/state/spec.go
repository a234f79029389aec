package state

import "sync"

// SpecRef is a reference of one word to a Spec, which never changes. Equal compares the
// Specs; == would not, and does not compile. The zero SpecRef refers to no Spec.
type SpecRef struct {
	_    [0]func()
	spec *spec
}

// spec is a Spec in two parts: nearly every Text is on one object only, and the rest is
// the same on many.
type spec struct {
	text string
	rest *Spec // without Text; equal ones are shared, up to mostKept
}

// Value returns the Spec. It panics for the zero SpecRef.
func (r SpecRef) Value() Spec {
	s := *r.spec.rest
	s.Text = r.spec.text
	return s
}

// Equal reports whether both refer to equal Specs, or both to none.
func (r SpecRef) Equal(o SpecRef) bool {
	a, b := r.spec, o.spec
	return a == b || a != nil && b != nil && a.text == b.text && (a.rest == b.rest || *a.rest == *b.rest)
}

// mostKept bounds the Specs that are kept for good: users may choose any timeout of
// session affinity.
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

// None is the Spec of objects without content.
var None = Intern(Spec{})
