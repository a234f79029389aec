package state

// Cause says why a write fails; metrics, the log and the status page show it.
type Cause string

// The causes.
const (
	CauseNode    Cause = "node"    // the kernel, its tools or the rights of this process
	CauseObject  Cause = "object"  // the kernel refuses the value of a Service or an endpoint
	CauseForeign Cause = "foreign" // an object or lock of another program is in the way
	CauseBlocked Cause = "blocked" // the write waits for another object
)

// Causes lists all causes.
func Causes() []Cause { return []Cause{CauseNode, CauseObject, CauseForeign, CauseBlocked} }
