package state

// Cause says whose fault it is that a write fails.
type Cause string

// The causes.
const (
	CauseNode    Cause = "node"    // the kernel, its tools or the rights of this process
	CauseObject  Cause = "object"  // the kernel does not take the value that a Service or an endpoint has
	CauseForeign Cause = "foreign" // another program's object is in the way, or its lock
	CauseBlocked Cause = "blocked" // the write waits for another
)

// Causes lists all of them.
func Causes() []Cause { return []Cause{CauseNode, CauseObject, CauseForeign, CauseBlocked} }
