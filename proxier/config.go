package proxier

import (
	"log/slog"
	"net/netip"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
)

// Config configures a Proxier. Desired, AuditPeriod, DrainTimeout and Log are required.
type Config struct {
	Desired          desired.Config
	Zone             string              // the node's zone, for topology hints; empty: the Node object has it
	NodeCIDR         bool                // pods have the podCIDRs of the Node object
	PrimaryNodePorts bool                // the node's primary addresses serve node ports too, beside those of Desired
	NodeIPs          []netip.Addr        // configured addresses of the node; they come before those of the Node object
	MostAddresses    int                 // addresses of a family that a start may add to kube-ipvs0; 0: the default
	AuditPeriod      time.Duration       // longest time between full comparisons with the kernel
	CanaryPeriod     time.Duration       // time between looks, and shortest time between audits; 0: no looks, and an audit each AuditPeriod
	DrainTimeout     time.Duration       // how long a removed endpoint's connections may go on, in direct mode
	MinSyncPeriod    time.Duration       // shortest time between the end of a round and the next one
	Turn             Turn                // of a plan, while changes wait; zero: the default
	Names            bool                // keep the names that Served and PodOf return
	Observe          func(*report.Round) // the loop calls it after each round; it must return at once
	ObserveSweep     func(*report.Sweep) // the sweeper calls it after each Sweep; it must return at once
	Log              *slog.Logger
}

// Turn bounds a plan while changes wait: Writes is how many writes it makes before the loop
// leaves it and programs the changes, and AtOnce how many of them the kernel gets in one
// call. Without turns a Service of 100 ports with 1,000 external IPs once kept the changes
// of all others waiting for nine minutes.
type Turn struct{ Writes, AtOnce int }

var usualTurn = Turn{Writes: 2000, AtOnce: 1000}
