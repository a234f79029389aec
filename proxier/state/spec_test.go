package state

import "testing"

// What a tenant may choose among many values is not kept for good, and is equal to
// itself all the same.
func TestInternKeepsFew(t *testing.T) {
	for i := range uint32(5 * mostKept) {
		s := Spec{Scheduler: "rr", Flags: FlagPersistent, Timeout: i}
		a, b, c := Intern(s), Intern(s), Intern(Spec{Scheduler: "rr", Flags: FlagPersistent, Timeout: i + 1})
		if !a.Equal(b) || a.Value() != s || a.Equal(c) {
			t.Fatalf("%v is not equal to itself, or is to another", s)
		}
	}
	if n := len(few.refs); n > mostKept {
		t.Errorf("%d are kept", n)
	}
}
