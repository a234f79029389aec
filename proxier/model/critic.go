package model

import (
	"cmp"
	"fmt"
	"strings"
)

// maxRemarks bounds what is said about one object, so that a big broken one
// does not drown the rest.
const maxRemarks = 20

const (
	keepsLast  = "the last good version stays in force"
	omitObject = "the object is left out"
	omitAddr   = "this address is left out"
)

// A critic collects what is wrong with one object while it is read.
type critic struct {
	remarks []remark
	bad     bool // an API server would have rejected the object
	more    int  // remarks not kept
}

type remark struct {
	field, what, then string
	fault             bool
}

// fault says that an API server would have rejected the object. then is what
// happens if there is no earlier good version of it.
func (c *critic) fault(field, then, what string, args ...any) {
	c.bad = true
	c.add(remark{field: field, then: then, fault: true}, what, args)
}

// note says that a legal part of the object cannot be used here.
func (c *critic) note(field, then, what string, args ...any) {
	c.add(remark{field: field, then: then}, what, args)
}

func (c *critic) add(r remark, what string, args []any) {
	if len(c.remarks) == maxRemarks {
		c.more++
		return
	}
	r.what = shortened(fmt.Sprintf(what, args...))
	c.remarks = append(c.remarks, r)
}

// shortened cuts a text that may quote what a tenant has written, which has room
// for a megabyte.
func shortened(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// problems phrases the remarks. With keep, an earlier version stays in force
// and notes about this one are of no interest.
func (c *critic) problems(origin, object string, keep bool) []Problem {
	var out []Problem
	for _, r := range c.remarks {
		switch {
		case !keep:
			out = append(out, Problem{Origin: origin, Object: object, Field: r.field, Message: r.what + "; " + r.then})
		case r.fault:
			out = append(out, Problem{Origin: origin, Object: object, Field: r.field, Message: r.what + "; " + keepsLast})
		}
	}
	if c.more > 0 {
		out = append(out, Problem{Origin: origin, Object: object, Message: fmt.Sprintf("%d more things are wrong with it; they are handled like those said", c.more)})
	}
	return out
}

// at is the path of element i of a list, or of a field of it.
func at(list string, i int, field string) string {
	if field != "" {
		field = "." + field
	}
	return fmt.Sprintf("%s[%d]%s", list, i, field)
}

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Object, b.Object),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message), cmp.Compare(a.UID, b.UID))
}
