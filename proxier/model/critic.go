package model

import (
	"cmp"
	"fmt"
	"strings"
)

// maxRemarks is how many remarks about one object are kept, so that a large broken object does
// not hide the problems of others.
const maxRemarks = 20

const (
	omitObject = "the object is left out"
	omitAddr   = "this address is left out"
)

// A critic collects the faults of one object while it is read. The other fields of the object
// count as they are now: an API server has accepted it, and an older version would hide all
// later changes, such as a removed endpoint.
type critic struct {
	remarks []remark
	more    int // remarks not kept
}

type remark struct{ field, what, then string }

// fault notes why the value of a field cannot be used, and what kube-ipvs does then.
func (c *critic) fault(field, then, what string, args ...any) {
	if len(c.remarks) == maxRemarks {
		c.more++
		return
	}
	c.remarks = append(c.remarks, remark{field: field, what: shortened(fmt.Sprintf(what, args...)), then: then})
}

// shortened cuts a text that may quote a tenant's value, which may have a megabyte.
func shortened(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// problems returns the remarks as Problems.
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

// at returns the path of element i of a list, or of a field of the element.
func at(list string, i int, field string) string {
	if field != "" {
		field = "." + field
	}
	return fmt.Sprintf("%s[%d]%s", list, i, field)
}

func compareProblems(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Object, b.Object),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Reason, b.Reason))
}
