package state

import (
	"strings"
	"testing"
)

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

// A write that repairs an object says what is wrong with it, whatever the condition is.
func TestChangesSayTheCondition(t *testing.T) {
	for c := Sound + 1; c <= Differs; c++ {
		old := Spec{Condition: c}
		id := LinkID()
		if c == Differs {
			old.Text, id = "a rule", RulesID(IPv4)
		}
		if s := (Op{Verb: Change, ID: id, Spec: None, Old: Intern(old)}).String(); !strings.HasSuffix(s, ")") {
			t.Errorf("condition %d: %s", c, s)
		}
	}
}
