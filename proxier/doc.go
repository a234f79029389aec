// Package proxier is the loop of kube-ipvs. Data flows one way, and every
// stage is a value that can be printed, compared and tested:
//
//	source    the API server or manifest files: Service, EndpointSlice, Node, as events
//	model     what the cluster says, and which endpoints each kind of virtual IP may use here
//	desired   pure: a Service → the objects that it needs in the kernel
//	state     Diff of what is wanted and what is there → Plan, an ordered list of writes
//	kernel    Apply(Plan): the only writer
//	report    what happened, as a value: a Round
//
// This package conducts: it has an inbox, a goroutine that takes rounds and writes, and
// timers. What there is to know belongs to packages that know nothing of it: cluster has
// what is wanted, ledger what is there and what stands between, checks and sweeper have
// goroutines beside the loop. Checks read the kernel; the sweeper deletes conntrack entries,
// which are no objects of ours.
//
// What is wanted never depends on what could be written, and a failed read
// aborts the round: nothing is deleted on missing facts. A failed write stays
// a difference and is retried with backoff. Until the source has delivered
// everything, nothing is removed or refused.
//
// # Failures
//
// The ledger has one status for each object whose last write failed: what is
// wanted of it, since when it fails, and the cause. A cause is the node, the value
// that a Service or an endpoint has, another program, or another write. Metrics,
// problems, log and readiness are sums over the ledger. Whether the loop moves
// (Stuck) and whether changes are programmed is all that the other probes tell.
//
// # Cost
//
// A change renders the Services that it is about, compares their old fragment
// with the new one, and looks at those objects alone in what the kernel is
// known to hold. Objects that several Services share are counted. The full
// comparison with the kernel, freshly read, happens at start and when an error
// or an audit shows that the kernel is not what it was taken for; it reports
// what others have changed before it repairs it. The audit comes on a timer, the
// more often the less it costs: a
// goroutine with sockets of its own reads the kernel and sums it up, and the loop
// compares the sum with that of what it has written. It never writes, and one
// that does not come back is given up. Between two audits a look does
// the same with what is cheap to read, and the kernel gives hints: objects that
// it says are gone and the loop takes to be there have an audit begin at once.
//
// A plan that takes long has turns: where changes wait after a turn, it is left off,
// and gone on with after them. Services that the cluster hangs on have a plan of
// their own that comes first, a Service with many objects has one that comes last.
//
// Memory goes by the number of objects, so that these are kept small: an ID has
// no pointers, a map by ID grows without a copy and has no slack, and a fragment
// is packed until its Service is rendered again.
//
// # Ours
//
// Chains and sets are ours by name, routes by their protocol number, the
// device by its alias, an address by its entry in the set of VIPs or by its
// route, and a virtual server by a flag bit that the kernel keeps for us. What
// is ours is therefore known from the kernel alone, after any crash.
//
// # Drain
//
// With a virtual server on the ClusterIP itself, IPVS carries every packet of
// a connection, so that a real server which is not wanted any more gets weight
// 0 until its connections have ended or the drain timeout has passed. Weight 0
// in the kernel is the record of it. Behind an image conntrack carries the
// connection and the real server goes at once.
//
// # Packages
//
//	cmd/kube-ipvs        options, wiring, subcommands
//	proxier              the loop
//	proxier/cluster      what is wanted: model, desired, and what the node says of itself
//	proxier/ledger       what the kernel is known to hold, and what fails, drains and waits
//	proxier/checks       readings of the kernel beside the loop: audits and looks
//	proxier/journal      what the log is told of rounds
//	proxier/report       what the loop tells others: rounds, as values
//	proxier/sweeper      conntrack entries that must be deleted, beside the loop
//	proxier/config       kube-proxy's configuration and ours, from flags and file
//	proxier/health       what others are told: probes, health-check node ports, pages
//	proxier/metrics      what rounds did, as metrics
//	proxier/traffic      what the kernel counts for Services, as metrics and rates
//	proxier/status       the status page: what is programmed, by Service, and the last rounds
//	proxier/relay        node ports on loopback addresses, which IPVS does not take
//	proxier/node         what a node has once: lock, capabilities, sysctls
//	proxier/source       where objects come from
//	proxier/model        Services and endpoint choice
//	proxier/desired      rendering, and the rules
//	proxier/explain      the way of a packet for one Service, in words
//	proxier/state        vocabulary, Diff, Plan
//	proxier/kernel       Kernel: Linux, Fake, Faulty; View, which reads
//	proxier/kernel/ipvs  IPVS over netlink
//	ipset                ipsets over netlink
//	netutil              netlink in batches, links, routes, conntrack, sysctls, iptables
//	netutil/iptables     the rules of iptables as text: read, printed, compared
//
// The import rules between them are tested in test/arch.
package proxier
