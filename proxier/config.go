package proxier

import (
	"log/slog"
	"time"

	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/report"
)

// Config configures a Proxier. Desired, AuditPeriod, DrainTimeout and Log are required; New
// sets Large.
type Config struct {
	cluster.Config
	AuditPeriod   time.Duration       // longest time between full comparisons with the kernel
	CanaryPeriod  time.Duration       // time between looks, and shortest time between audits; 0: no looks, and an audit each AuditPeriod
	DrainTimeout  time.Duration       // how long a removed endpoint's connections may go on, in direct mode
	MinSyncPeriod time.Duration       // shortest time between the end of a round and the next one
	Turn          Turn                // of a plan, while changes wait; zero: the default
	Observe       func(*report.Round) // the loop calls it after each round; it must return at once
	ObserveSweep  func(*report.Sweep) // the sweeper calls it after each Sweep; it must return at once
	Log           *slog.Logger
}

// Turn bounds a plan while changes wait: Writes is how many writes it makes before the loop
// leaves it and programs the changes, and AtOnce how many of them the kernel gets in one
// call. Without turns a Service of 100 ports with 1,000 external IPs once kept the changes
// of all others waiting for nine minutes.
type Turn struct{ Writes, AtOnce int }

var usualTurn = Turn{Writes: 2000, AtOnce: 1000}
