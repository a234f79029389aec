package proxier

import (
	"log/slog"
	"net/netip"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
)

// Config is what a Proxier must be told. Desired, AuditPeriod, DrainTimeout
// and Log are needed.
type Config struct {
	Desired          desired.Config
	Zone             string              // of the node, for topology hints; empty: the Node object says it
	NodeCIDR         bool                // the source addresses of pods are the podCIDRs of the Node object
	PrimaryNodePorts bool                // node ports are served on the node's primary addresses, beside those of Desired
	NodeIPs          []netip.Addr        // of the node, as the configuration says; they are primary before those of the Node object
	MostAddresses    int                 // of a family that a start adds to kube-ipvs0; 0: as many as the kernel takes in good time
	AuditPeriod      time.Duration       // between full comparisons with the kernel, at most
	CanaryPeriod     time.Duration       // between looks at what costs little to look at, and between audits at least; 0: no looks, and audits each AuditPeriod
	DrainTimeout     time.Duration       // that a removed endpoint's connections may go on, in direct mode
	MinSyncPeriod    time.Duration       // between the end of a round and the next that changes cause
	Turn             Turn                // of a plan, while changes wait; zero: as usual
	Names            bool                // keep what Served and PodOf tell
	Observe          func(*report.Round) // called by the loop after each round; must return at once
	ObserveSweep     func(*report.Sweep) // called beside the loop after each Sweep; must return at once
	Log              *slog.Logger
}

// Turn says how many writes a plan has before it is left off, where changes wait,
// and how many of them are handed to the kernel at once. The plan is gone on with
// after the changes: a Service of 100 ports with 1,000 external IPs once kept those
// of all others waiting for nine minutes.
type Turn struct{ Writes, AtOnce int }

var usualTurn = Turn{Writes: 2000, AtOnce: 1000}
