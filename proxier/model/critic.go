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
	omitObject = "the object is left out"
	omitAddr   = "this address is left out"
)

// A critic collects what is wrong with one object while it is read. Whatever that
// is, the rest of the object counts as it is now: an API server has accepted it,
// and to go on with an older version would hide all that was edited since, such as
// an endpoint that is gone.
type critic struct {
	remarks []remark
	more    int // remarks not kept
}

type remark struct{ field, what, then string }

// fault says what of a field cannot be used, and what happens then.
func (c *critic) fault(field, then, what string, args ...any) {
	if len(c.remarks) == maxRemarks {
		c.more++
		return
	}
	c.remarks = append(c.remarks, remark{field: field, what: shortened(fmt.Sprintf(what, args...)), then: then})
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

// problems phrases the remarks.
func (c *critic) problems(origin, object string) []Problem {
	var out []Problem
	for _, r := range c.remarks {
		out = append(out, Problem{Origin: origin, Object: object, Field: r.field, Message: r.what + "; " + r.then})
	}
	if c.more > 0 {
		out = append(out, Problem{Origin: origin, Object: object, Message: fmt.Sprintf("%d more values are wrong; they are left out or replaced like these", c.more)})
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
