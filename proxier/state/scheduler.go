package state

// Schedulers are the names of all IPVS schedulers that Linux has
// (net/netfilter/ipvs/Kconfig, up to Linux 7), as the kernel spells them. Which
// of them a node's kernel was built with, only that tells.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"}
