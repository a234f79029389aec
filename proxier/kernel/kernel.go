// Package kernel reads and writes the node's dataplane; no other package writes it. Linux
// is the kernel itself, Fake a kernel in memory, Faulty a Kernel whose writes sometimes
// fail. One contract test holds Fake to Linux. A View reads the kernel beside the writer.
package kernel

import (
	"context"
	"errors"
	"time"

	"kube-ipvs/proxier/state"
)

// Kernel is the node's dataplane. Only one goroutine may use it, except its Flows and
// Readers.
type Kernel interface {
	// Facts returns the facts of the node that rendering needs. An error means unknown,
	// never empty.
	Facts(context.Context) (state.Facts, error)

	// Expect sets the wanted rules of IPv4 and IPv6, with which Read compares the
	// kernel's.
	Expect(rules [2]string)

	// Read reads all objects of kube-ipvs from the kernel. An error means unknown, never
	// empty.
	Read(context.Context) (*state.State, error)

	// Reader opens a Reader for another goroutine, which must close it. It compares
	// rules with those of the last Expect.
	Reader(context.Context) (Reader, error)

	// Apply executes the plan in order and goes on after an op that fails. It returns
	// nil if all ops succeed, else one error an op, nil for those that succeed. ErrStale
	// says that the kernel has changed since the plan was made.
	Apply(context.Context, state.Plan) []error

	// Flows opens a Flows for another goroutine, which must close it.
	Flows(context.Context) (Flows, error)

	// Connections returns the number of connections, active and inactive, of real
	// servers. A missing real server has none.
	Connections(context.Context, []state.ID) (map[state.ID]uint32, error)

	// Loads returns what the real servers of a virtual server do. It costs one request. A
	// missing virtual server has none.
	Loads(ctx context.Context, server state.ID) ([]state.Load, error)

	// Stats counts the requests of all calls together.
	Stats() Stats

	// ProbeScheduler returns nil if virtual servers can have the scheduler, else an
	// error that names what the kernel lacks.
	ProbeScheduler(context.Context, string) error
}

// Reader reads the kernel while another goroutine writes. The Reader of Linux is a View.
type Reader interface {
	// Each calls note with every object that Read returns, once, and with the connections of
	// real servers. It may miss an object that changes meanwhile.
	Each(ctx context.Context, note func(id state.ID, spec state.SpecRef, active, inactive uint32)) error
	// EachServer is Each for virtual servers, without connections.
	EachServer(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// EachRule is EachServer for rules. Its cost does not depend on the rules of other
	// programs. It may miss harmless changes, such as a second jump to the same chain.
	EachRule(ctx context.Context, note func(state.ID, state.SpecRef)) error
	// Entries returns the number of entries in kube-ipvs's sets.
	Entries(context.Context) (int, error)
	// Cost returns the CPU time of this process, and of programs that it ran to their
	// end, since the Reader was opened. Unlike elapsed time it does not grow with the
	// load of the node.
	Cost() time.Duration
	Stats() Stats
	Close() error
}

// Stats counts requests to the kernel.
type Stats struct {
	Messages  uint64 // netlink requests
	Sends     uint64 // system calls that carried them
	Dumps     uint64 // requests among them that list objects
	Errors    uint64 // requests that the kernel refused
	Bytes     uint64 // bytes sent
	Processes uint64 // processes started
}

// Plus returns the sum of both.
func (s Stats) Plus(o Stats) Stats {
	return Stats{s.Messages + o.Messages, s.Sends + o.Sends, s.Dumps + o.Dumps,
		s.Errors + o.Errors, s.Bytes + o.Bytes, s.Processes + o.Processes}
}

// Since returns the growth since before.
func (s Stats) Since(before Stats) Stats {
	return Stats{s.Messages - before.Messages, s.Sends - before.Sends, s.Dumps - before.Dumps,
		s.Errors - before.Errors, s.Bytes - before.Bytes, s.Processes - before.Processes}
}

// ErrForeign is wrapped by the error of an op that finds an object of another program in
// the place of its own.
var ErrForeign = errors.New("an object that kube-ipvs does not manage is in the way")

// ErrStale is wrapped by the error of an op that finds the kernel changed since the plan was
// made, or whose effect is unknown. Read the kernel before the next try.
var ErrStale = errors.New("the kernel has changed since it was read")
