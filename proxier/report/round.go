// Package report has what the loop tells others, as values: what a round did, and how
// things stand after it. Nothing here acts, and nothing here must be changed by readers.
package report

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Round is what one pass of the loop did. It must not be changed.
type Round struct {
	Number    uint64
	Started   time.Time
	Took      time.Duration
	Queued    time.Time        // when the oldest change came in that the round took; zero: it took none
	Changes   Changes          // that it took
	Full      bool             // everything was read from the kernel and compared by the round itself
	Audited   bool             // an audit beside the loop has ended with the round, and found nothing
	GivenUp   bool             // an audit beside the loop, or a look, did not come back
	Services  int              // that were rendered
	Ops       map[Write]int    // writes that succeeded
	Failures  []Failure        // writes that failed; they stay wanted and are retried
	Retried   int              // writes that were tried again
	Drift     []Drift          // what others had changed in the kernel, with Full
	Kernel    kernel.Stats     // what the round asked of the kernel
	Draining  int              // real servers that finish their connections
	Drains    []Drain          // of Draining, those that have been for the longest time
	Known     Known            // what the source has said, as it stands now
	Objects   map[string]int   // in the kernel, after the round, by kind
	Left      int              // writes that are still to come, since changes waited
	Failing   Failing          // writes that have failed and not succeeded since
	Unwritten []Unwritten      // of Failing, those that have failed for the longest time
	Problems  []model.Problem  // of what was asked for, as it stands now, sorted
	Triggers  []time.Time      // what changed the endpoints that the round programmed: EndpointSlice annotation endpoints.kubernetes.io/last-change-trigger-time
	Checks    []HealthCheck    // of all Services that have a health-check node port, sorted
	NodePort  []netip.Prefix   // node addresses that serve node ports; a family without any: all
	NodeIPs   []netip.Addr     // the node's own addresses, one a family at most
	NoLocal   map[Locality]int // Services without an endpoint on this node that their policy allows, though others have some
	Flows     Flows            // how far the deletion of conntrack entries is, after the round
	NotReady  string           // why something of what was there at the start is not programmed; empty: it is, from then on
	Err       error            // nothing was written, because something could not be read
}

// Write is a sort of write.
type Write struct{ Verb, Kind string } // as state.Verb and state.Kind print

// String returns verb and kind.
func (w Write) String() string { return w.Verb + " " + w.Kind }

// Changes counts what a source has said.
type Changes struct{ Services, Slices int }

// Known counts objects that are followed. Nodes of one cluster agree in it.
type Known struct {
	Services int // that are ours to serve
	Slices   int // EndpointSlices
}

// Drift is something of ours that somebody else changed.
type Drift struct {
	ID   state.ID
	What string // is gone, was changed, was added
}

// String says what happened to what.
func (d Drift) String() string { return d.ID.String() + " " + d.What }

// HealthCheck is a Service with a health-check node port.
type HealthCheck struct {
	Key   model.Key
	Port  uint16
	Local [2]int // different ready addresses on this node, IPv4 and IPv6
	UID   string // of the Service
}

// Locality is a traffic policy Local: of internal or external traffic, in a family.
type Locality struct {
	Policy string // internal or external
	Family string // IPv4 or IPv6
}

// Failure is a write that failed.
type Failure struct {
	Op  state.Op
	Err error
}

// String says what failed and why.
func (f Failure) String() string { return fmt.Sprintf("%s: %v", f.Op, f.Err) }

// Failed returns how many writes were tried in vain. What only waits for another write, of a
// plan that gave way to changes of others, is not among them.
func (r *Round) Failed() int {
	n := 0
	for _, f := range r.Failures {
		if !errors.Is(f.Err, kernel.ErrBlocked) {
			n++
		}
	}
	return n
}

// Writes returns how many writes succeeded.
func (r *Round) Writes() int {
	n := 0
	for _, c := range r.Ops {
		n += c
	}
	return n
}

// Sweep is one look through the conntrack entries of a family.
type Sweep struct {
	Family  int // 4 or 6
	Took    time.Duration
	Deleted int
	Err     error // some may be left; it is tried again
	Flows   Flows // after it
}

// Drain is a real server that finishes its connections.
type Drain struct {
	ID    state.ID
	Since time.Time // it got no new ones; at least, if the process is younger
}

// Flows is how far the deletion of conntrack entries is.
type Flows struct {
	Waiting int       // frontends whose entries are to be looked through
	Since   time.Time // when the first of them came to be; zero: none waits
	GivenUp uint64    // frontends that were left out: too many waited, and their Services had gone
	Failing error     // of the last sweep; nil: it succeeded
	Failed  time.Time // when the first failed since one succeeded; zero: it does
}

// Backlog is what has come in and is not programmed yet.
type Backlog struct {
	Changes
	Since time.Time // when the oldest came in; zero: nothing waits
}

// Failing says which writes do not succeed.
type Failing struct {
	Node, Object, Foreign, Blocked int       // how many, by cause
	Since                          time.Time // the first failure of those with cause node; zero: none
	First                          string    // that one, and its error
}

// Count returns how many writes of a cause fail.
func (f *Failing) Count(c state.Cause) int { return *f.of(c) }

// Add counts one more write that fails of a cause.
func (f *Failing) Add(c state.Cause) { *f.of(c)++ }

// All returns how many writes fail.
func (f *Failing) All() int { return f.Node + f.Object + f.Foreign + f.Blocked }

func (f *Failing) of(c state.Cause) *int {
	switch c {
	case state.CauseObject:
		return &f.Object
	case state.CauseForeign:
		return &f.Foreign
	case state.CauseBlocked:
		return &f.Blocked
	}
	return &f.Node
}

// Unwritten is an object whose write has failed and not succeeded since.
type Unwritten struct {
	Failure
	Cause state.Cause
	Since time.Time // of the first failure
}

// ServedPort is what a virtual server stands for.
type ServedPort struct {
	model.Key
	Port  string // its name, or its number if it has none
	Reach desired.Reach
	Whole bool // see desired.Config.SeesAll
}
