package proxier

import (
	"log/slog"
	"time"

	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/eject"
	"kube-ipvs/proxier/ledger"
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
	Turn          ledger.Turn         // of a plan, while changes wait; zero: the default
	Observe       func(*report.Round) // the loop calls it after each round; it must return at once
	ObserveSweep  func(*report.Sweep) // the sweeper calls it after each Sweep; it must return at once
	Dial          eject.Dial          // opens the connections that probe endpoints; nil: the node does
	Log           *slog.Logger
}

var usualTurn = ledger.Turn{Writes: 2000, AtOnce: 1000}
