// Package report has the values that describe the loop to other packages: what a round
// did, and the state after it. It has no behaviour, and readers must not change its values.
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

// Round describes one pass of the loop. Readers must not change it.
type Round struct {
	Number    uint64
	Started   time.Time
	Took      time.Duration
	Queued    time.Time        // when the oldest change of the round came in; zero: the round took none
	Changes   Changes          // the changes that the round took
	Full      bool             // the round itself read the whole kernel and compared it
	Audited   bool             // an audit beside the loop ended with the round, and found no difference
	GivenUp   bool             // an audit or a look beside the loop hung
	Services  int              // rendered Services
	Changed   []model.Key      // the first of them
	Ops       map[Write]int    // writes that succeeded
	Failures  []Failure        // writes that failed; the loop retries them
	Retried   int              // failed writes that the round tried again
	Drift     []Drift          // changes by other programs, with Full
	Kernel    kernel.Stats     // the messages and processes of the round
	Ejected   int              // endpoints of Services that get no new connections, since they are dead
	Ejections int              // since the last round
	Draining  int              // real servers that finish their connections
	Drains    []Drain          // the longest of Draining
	Known     Known            // the objects that the source has delivered
	Objects   map[string]int   // in the kernel, after the round, by kind
	Left      int              // writes of plans that gave way to waiting changes
	Failing   Failing          // writes that have failed and not succeeded since
	Unwritten []Unwritten      // the longest of Failing
	Begun     []Unwritten      // those of Failures that the log has to have
	Mended    []Unwritten      // failed writes that the log has, and that have succeeded now
	Problems  []model.Problem  // of Services, endpoints, the Node and the source, sorted
	Triggers  []time.Time      // when the endpoints that the round programmed changed: EndpointSlice annotation endpoints.kubernetes.io/last-change-trigger-time
	Checks    []HealthCheck    // of all Services that have a health-check node port, sorted
	NodePort  []netip.Prefix   // node addresses that serve node ports; a family without any: all
	NodeIPs   []netip.Addr     // the node's own addresses, at most one for each family
	NoLocal   map[Locality]int // Services with endpoints, none of which their policy Local allows on this node
	Flows     Flows            // the progress of the deletion of conntrack entries, after the round
	NotReady  string           // why the objects of the start are not all programmed; empty: they are, and it stays empty
	Err       error            // the read that failed, so that the round wrote nothing
	Unread    error            // the last read that failed, until the loop has read the kernel; rounds between two tries write, so that their Err is nil

	// Reduced returns the reduced real servers of the moment when it is called, from any
	// goroutine. Not nil after the first round.
	Reduced func() state.Reduced
}

// Write is a verb and a kind of object.
type Write struct{ Verb, Kind string } // as state.Verb and state.Kind print

// String returns verb and kind.
func (w Write) String() string { return w.Verb + " " + w.Kind }

// Changes counts events of a source.
type Changes struct{ Services, Slices int }

// Known counts the objects that the loop follows. It is the same on all nodes of a cluster.
type Known struct {
	Services int // that kube-ipvs serves
	Slices   int // EndpointSlices
}

// Drift is an object of kube-ipvs that another program changed.
type Drift struct {
	ID   state.ID
	What string // is gone, was changed, was added
}

// String returns the object and its change.
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
	Family state.Family
}

// Failure is a failed write.
type Failure struct {
	Op  state.Op
	Err error
}

// String returns the write and its error.
func (f Failure) String() string { return fmt.Sprintf("%s: %v", f.Op, f.Err) }

// Failed returns how many writes the kernel refused. It does not count writes that only wait
// for another write.
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

// Sweep is one search of the conntrack entries of a family.
type Sweep struct {
	Family  state.Family
	Took    time.Duration
	Deleted int
	Err     error // some entries may be left; the next sweep finds them
	Flows   Flows // after the sweep
}

// Drain is a real server that finishes its connections.
type Drain struct {
	ID    state.ID
	Since time.Time // when it got its last new connections, or when the process saw it first
}

// Flows is the progress of the deletion of conntrack entries.
type Flows struct {
	Waiting int       // frontends that wait for a sweep
	Since   time.Time // when the first of them began to wait; zero: none waits
	GivenUp uint64    // frontends of deleted Services that were left out, since too many waited
	Failing error     // of the last sweep; nil: it succeeded
	Failed  time.Time // the first failure since the last success; zero: sweeps succeed
}

// Backlog counts the changes that came in and are not programmed yet.
type Backlog struct {
	Changes
	Since time.Time // when the oldest came in; zero: none waits
}

// Plus returns the sum of both; those of b are older.
func (b Backlog) Plus(o Backlog) Backlog {
	b.Services += o.Services
	b.Slices += o.Slices
	if b.Since.IsZero() {
		b.Since = o.Since
	}
	return b
}

// Failing counts the writes that have failed and not succeeded since.
type Failing struct {
	Node, Object, Foreign, Blocked int       // by cause
	Since                          time.Time // the first failure with cause node; zero: none
	First                          string    // that write, and its error
}

// Count returns how many writes fail for a cause.
func (f *Failing) Count(c state.Cause) int { return *f.of(c) }

// Add counts one more write that fails for a cause.
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

// ServedPort is the Service port behind a virtual server.
type ServedPort struct {
	model.Key
	Port  string // its name, or its number if it has none
	Reach desired.Reach
	Whole bool // see desired.Config.SeesAll
}
