package state

// Schedulers are the names of all IPVS schedulers that Linux has
// (net/netfilter/ipvs/Kconfig, up to Linux 7), as the kernel spells them. Which
// of them a node's kernel was built with, only that tells.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"}

// SchedulerFlags returns the flags of a virtual server that has the scheduler.
// The tables of sh and mh keep real servers of weight 0: without the fallback
// each connection that is hashed to one fails for as long as it is there. mh
// hashes the source port too, or all of a client's connections would go to one
// endpoint.
func SchedulerFlags(scheduler string) uint32 {
	switch scheduler {
	case "mh":
		return FlagSchedFallback | FlagSchedPort
	case "sh":
		return FlagSchedFallback
	}
	return 0
}

// SchedulerDrains reports whether a scheduler sends nothing new to a real
// server of weight 0 and has another take it. dh does not: a connection that it
// hashes to such a one fails, and no flag changes that (ip_vs_dh.c).
func SchedulerDrains(scheduler string) bool { return scheduler != "dh" }
