// Package proxier is the loop of kube-ipvs. The loop turns Services into objects of the
// kernel. Data flows one way, and tests can print and compare what each stage returns:
//
//	source    reads Services, EndpointSlices and the Node, and delivers them as events
//	model     keeps them, and chooses the endpoints that each virtual IP may use here
//	desired   renders each Service into the objects that it needs in the kernel
//	state     compares these objects with the kernel's (Diff), and orders the writes (Plan)
//	kernel    applies the plan: it is the only writer
//	report    describes what a round did, as a value: a Round
//
// This package has an inbox, timers, and one goroutine that takes rounds. Five packages
// keep the loop's knowledge, and none of them imports proxier. Cluster has the desired
// objects. Ledger has the known objects of the kernel and the status of each object that
// fails; it compares and writes. Checks, sweeper and eject run goroutines beside the loop:
// checks read the kernel, the sweeper deletes conntrack entries, which are not objects of
// kube-ipvs, and eject finds dead endpoints.
//
// The desired objects never depend on which writes succeeded. A failed write stays a
// difference, and the loop retries it with backoff. A failed read aborts the round, so
// that missing knowledge deletes nothing. Until the source has delivered everything, the
// loop removes and refuses nothing.
//
// # Failures
//
// The ledger has one status for each object whose last write failed: the desired object,
// the time of the first failure, and the cause. A cause is the node, a value of a Service
// or an endpoint, another program, or another write. Metrics, problems, log and readiness
// are sums over the ledger. The other probes tell only whether the loop moves (Stuck) and
// whether it programs changes.
//
// # Cost
//
// A change costs what its Services cost. The loop renders the changed Services, compares
// their old objects with the new ones, and looks up only these objects in the ledger. It
// counts the users of objects that several Services share.
//
// A full comparison reads the kernel anew. It happens at the start, and when an error or
// an audit shows that the ledger is wrong. It reports the changes of other programs before
// it repairs them.
//
// An audit reads the kernel in a goroutine with sockets of its own, and the loop compares
// the digest of what it read with the ledger's. An audit writes nothing. It comes on a
// timer, the more often the less it costs, and the loop gives up one that hangs. Between
// two audits a look does the same with the objects that are cheap to read. The kernel also
// gives hints: if it reports the deletion of an object that the ledger has, an audit
// begins at once.
//
// A long plan has turns. If changes wait at the end of a turn, the loop programs them
// first and then continues the plan. The Services that the whole cluster needs have a plan
// of their own, which comes first. A Service with many objects has one that comes last.
//
// Memory grows with the number of objects, so objects are small: an ID has no pointers, a
// map by ID grows without a copy, and a Service's objects stay packed until the loop
// renders it again.
//
// # Marks
//
// Each object of kube-ipvs has a mark in the kernel. Chains and sets have a name, routes a
// protocol number, the device an alias, and virtual servers a flag bit. An address has an
// entry in the set of VIPs, or its route. So kube-ipvs finds its objects in the kernel
// alone, also after a crash.
//
// # Drain
//
// If the virtual server stands at the ClusterIP itself, IPVS carries every packet of a
// connection. A removed real server then gets weight 0 until its connections have ended or
// the drain timeout has passed, and weight 0 in the kernel is the only record of this. If
// the virtual server stands at a mapped address, conntrack carries the connection, and the
// loop deletes the real server at once.
//
// # Packages
//
//	cmd/kube-ipvs        the command: options, wiring, subcommands
//	proxier              the loop
//	proxier/cluster      the desired objects: model, desired, and the node's own facts
//	proxier/ledger       the known objects of the kernel, and those that fail, drain or wait; writes plans
//	proxier/checks       reads of the kernel beside the loop: audits and looks
//	proxier/journal      the log lines of rounds
//	proxier/pace         when work is due, and the delays of retries
//	proxier/report       rounds, as values for other packages
//	proxier/eject        finds dead endpoints beside the loop
//	proxier/sweeper      deletes conntrack entries beside the loop
//	proxier/config       the configuration, from flags and file
//	proxier/health       probes, health-check node ports, and the pages beside them
//	proxier/metrics      metrics of rounds
//	proxier/traffic      the kernel's counters by Service, as metrics and rates
//	proxier/status       the status page: the programmed Services and the last rounds
//	proxier/relay        node ports at loopback addresses, which IPVS does not serve
//	proxier/node         the lock, capabilities and sysctls of the node
//	proxier/source       reads objects from the API server or from manifests
//	proxier/model        Services, and the choice of endpoints
//	proxier/desired      rendering, and the rules
//	proxier/explain      the way of a packet to one Service, in words
//	proxier/state        the kinds of objects, Diff and Plan
//	proxier/kernel       Kernel and its implementations Linux, Fake and Faulty; View, for readers
//	proxier/kernel/ipvs  IPVS over netlink
//	ipset                ipsets over netlink
//	netutil              netlink in batches, links, routes, conntrack, sysctls, iptables
//	netutil/ipfamily     the type Family: IPv4 or IPv6
//	netutil/iptables     the rules of iptables: parsed, printed, compared
//
// test/suite/arch tests the import rules between them.
package proxier
