package state

// Schedulers are the names of all IPVS schedulers of Linux (net/netfilter/ipvs/Kconfig, up
// to Linux 7). A node's kernel may have only some of them.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"}

// SchedulerFlags returns the flags of a virtual server with the scheduler. The tables of
// sh and mh keep real servers of weight 0: without the fallback each connection that
// hashes to one fails. mh hashes the source port too, since otherwise all connections of
// a client would go to one endpoint.
func SchedulerFlags(scheduler string) uint32 {
	switch scheduler {
	case "mh":
		return FlagSchedFallback | FlagSchedPort
	case "sh":
		return FlagSchedFallback
	}
	return 0
}

// SchedulerDrains reports whether a scheduler gives the new connections of a real server
// of weight 0 to another. dh does not: a connection that hashes to such a server fails,
// and no flag changes that (ip_vs_dh.c).
func SchedulerDrains(scheduler string) bool { return scheduler != "dh" }

// WeightedScheduler returns the scheduler that takes the place of one where real servers
// have different weights: rr and lc do not read them. ok is false for dh, which does not
// either, and for ovf, which takes a weight for a number of connections (ip_vs_ovf.c).
func WeightedScheduler(scheduler string) (weighted string, ok bool) {
	switch scheduler {
	case "rr":
		return "wrr", true
	case "lc":
		return "wlc", true
	}
	return scheduler, scheduler != "dh" && scheduler != "ovf"
}
