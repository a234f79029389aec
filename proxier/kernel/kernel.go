// Package kernel is the node's dataplane: what is programmed, and the one
// writer of it. Linux is the real thing, Fake the same in memory, Faulty a
// Kernel whose writes sometimes fail. One contract test holds Fake to Linux.
// A View reads the real thing beside the writer.
package kernel

import (
	"context"
	"errors"
	"time"

	"kube-ipvs/proxier/state"
)

// Kernel is the node's dataplane. Only one goroutine may use it, but for Flows.
type Kernel interface {
	// Facts reports what rendering must know of the node. An error means
	// unknown, never empty.
	Facts(context.Context) (state.Facts, error)

	// Expect says what the rules of each family, IPv4 and IPv6, are to be, so
	// that Read can tell them from others that are not as they should be.
	Expect(rules [2]string)

	// Read asks the kernel for everything that is programmed now and is ours.
	// An error means unknown, never empty.
	Read(context.Context) (*state.State, error)

	// Reader opens a second way to read, for another goroutine, which is to
	// close it. It knows of the rules that Expect has told last.
	Reader(context.Context) (Reader, error)

	// Apply executes the plan in order and goes on after an op that fails.
	// It returns nil when all succeeded, else one error an op, nil for those
	// that did. An error that is ErrStale says that the kernel was not as the
	// plan took it to be.
	Apply(context.Context, state.Plan) []error

	// Flows opens a way to delete conntrack entries, for another goroutine,
	// which is to close it.
	Flows(context.Context) (Flows, error)

	// Connections counts the connections, active and inactive, of real
	// servers. One that is not there has none.
	Connections(context.Context, []state.ID) (map[state.ID]uint32, error)

	// Stats counts what all calls together have asked of the kernel.
	Stats() Stats

	// ProbeScheduler returns nil if virtual servers can have the scheduler,
	// else an error that says what is missing.
	ProbeScheduler(context.Context, string) error
}

// Reader reads what is programmed while another goroutine writes. That of Linux is a View.
type Reader interface {
	// Each hands note everything that Read returns, each object once. What
	// is changed meanwhile may be among it or not.
	Each(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// EachServer is the part of Each that is about virtual servers.
	EachServer(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// EachRule is the part of Each that is about rules, as a look shows them
	// that costs nothing for what others have. It may miss what does little,
	// such as a jump that has come twice.
	EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// Entries counts those in our sets.
	Entries(context.Context) (int, error)
	// Cost returns the CPU time that the process, and programs that it ran to their
	// end, have taken since the Reader was opened. Unlike the time that has
	// passed it does not grow because the node is busy.
	Cost() time.Duration
	Stats() Stats
	Close() error
}

// Stats counts what was asked of the kernel.
type Stats struct {
	Messages  uint64 // netlink requests
	Sends     uint64 // system calls that carried them
	Dumps     uint64 // requests among them that list something
	Errors    uint64 // requests that the kernel refused
	Bytes     uint64 // sent
	Processes uint64 // started
}

// Plus returns the sum of both.
func (s Stats) Plus(o Stats) Stats {
	return Stats{s.Messages + o.Messages, s.Sends + o.Sends, s.Dumps + o.Dumps,
		s.Errors + o.Errors, s.Bytes + o.Bytes, s.Processes + o.Processes}
}

// Since returns what has been added to before.
func (s Stats) Since(before Stats) Stats {
	return Stats{s.Messages - before.Messages, s.Sends - before.Sends, s.Dumps - before.Dumps,
		s.Errors - before.Errors, s.Bytes - before.Bytes, s.Processes - before.Processes}
}

// ErrForeign is wrapped by errors of ops that found somebody else's object in
// the place of ours.
var ErrForeign = errors.New("there is one already that is not ours")

// ErrStale is wrapped by errors of ops that found the kernel other than the
// plan took it to be, or whose fate is unknown: read before the next try.
var ErrStale = errors.New("the kernel is not as it was read")
