// Package explain tells the way of a packet for one Service on one node, as
// the kernel has it now, and how that differs from what is wanted. It is pure:
// it is given what was read, and decides nothing itself. Endpoints are judged by
// the model that chooses them. Who is let in, rewritten and masqueraded is found
// by sending a packet through the rules and sets that the kernel holds.
package explain

import (
	"net/netip"

	"kube-ipvs/netutil/iptables"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Node is what was read, of the cluster and of the kernel.
type Node struct {
	Model  *model.Model
	Table  *desired.Table // with everything rendered
	Config desired.Config
	Facts  state.Facts

	Actual    *state.State            // what the kernel holds of ours
	Rules     [2]string               // our rules in the kernel, IPv4 and IPv6, as iptables-save prints them
	Differ    [2][]string             // how they differ from those wanted, a line each
	Addresses []netip.Addr            // of the node's links
	Conns     map[state.ID]uint32     // connections of real servers
	LinkOf    func(netip.Addr) string // by which link packets from an address come in; "" if that is unknown

	Plan     state.Plan          // what would make the kernel as wanted
	Why      map[state.ID]string // for what each object is wanted
	Problems []model.Problem     // of what was asked for
	Complete bool                // the source was read in full

	rules  [2]ruleset
	parsed [2]string           // what rules were made of
	reals  map[state.ID][]real // of a virtual server
}

// real is a real server as the kernel has it.
type real struct {
	at     netip.AddrPort
	weight uint32
}

// Explanation is what is told of a Service. Its JSON form is documented in
// docs/explain.md: fields are added, not changed.
type Explanation struct {
	Schema    string       `json:"schema"`           // kube-ipvs/explain/v1
	Service   string       `json:"service"`          // namespace/name
	Origin    string       `json:"origin,omitempty"` // the file that it comes from
	Node      string       `json:"node"`
	Zone      string       `json:"zone,omitempty"`
	Mode      string       `json:"clusterIPServers"` // image or direct
	Frontends []Frontend   `json:"frontends"`
	Hairpin   []string     `json:"hairpin"` // endpoints of this node that are masqueraded when they are sent to themselves
	Differs   []Difference `json:"differences"`
	Problems  []string     `json:"problems"`         // of the Service and its EndpointSlices
	Complete  bool         `json:"complete"`         // false: the objects could not all be read; nothing would be removed
	Unread    []string     `json:"unread,omitempty"` // what could not be read, each with its file
	AsDesired bool         `json:"asDesired"`
}

// Frontend is one address that clients dial.
type Frontend struct {
	Kind         string   `json:"kind"`    // ClusterIP, load-balancer IP, external IP, node port
	Address      string   `json:"address"` // node ports: *:PORT
	Family       int      `json:"family"`  // 4 or 6
	Protocol     string   `json:"protocol"`
	Port         string   `json:"port,omitempty"`         // its name
	Policy       string   `json:"policy"`                 // Cluster or Local
	ServedBy     string   `json:"servedBy,omitempty"`     // the Service that has the address instead of this one
	Takes        []Fact   `json:"takes"`                  // why the node takes packets to it
	SourceRanges []string `json:"sourceRanges,omitempty"` // who may use it, as the kernel has it; none: everybody
	Ways         []Way    `json:"ways"`
	Servers      []Server `json:"virtualServers"`
}

// Fact is something that is there or is not.
type Fact struct {
	Present bool   `json:"present"`
	Object  string `json:"object,omitempty"` // that it rests on
	Text    string `json:"text"`
}

// The kinds of clients.
const (
	FromPod     = "pod"
	FromNode    = "node"
	FromOutside = "outside" // neither
)

// Client is who asks.
type Client struct {
	Kind    string `json:"kind"`
	Address string `json:"address,omitempty"` // with --from
	Link    string `json:"link,omitempty"`    // by which it comes in, if that tells pods from others
	Why     string `json:"why,omitempty"`     // why it is taken for one of its kind

	anybody bool // it stands for all of its kind
	orPod   bool // and for pods, which are not known from others
	addr    netip.Addr
}

// The outcomes for a new connection.
const (
	Served     = "served"     // IPVS gives it to an endpoint
	Refused    = "refused"    // the client is told at once
	Dropped    = "dropped"    // the client waits for nothing
	ToHost     = "to-host"    // no virtual server takes it: a process of the node may
	PassedOn   = "passed-on"  // the node is not concerned, and routes it on
	Unroutable = "unroutable" // it was rewritten to an image and there is no route for these
)

// Way is the way of a client's first packet.
type Way struct {
	Client        Client   `json:"client"`
	To            string   `json:"to"` // what it dials
	Outcome       string   `json:"outcome"`
	Why           string   `json:"why"`
	IfFrom        bool     `json:"ifInSourceRanges,omitempty"` // only sources in the ranges get so far; others are dropped
	Relay         string   `json:"relay,omitempty"`            // what the relay of node ports does with it, if it is sent there
	Server        string   `json:"virtualServer,omitempty"`    // that takes it
	Masquerade    string   `json:"masquerade,omitempty"`       // yes, no, or some: to the endpoints in masqueraded
	MasqueradeWhy string   `json:"masqueradeWhy,omitempty"`
	Masqueraded   []string `json:"masqueraded,omitempty"`
	Steps         []Step   `json:"steps"`
	Unsure        []string `json:"unsure,omitempty"` // rules that could not be judged
}

// Step is a rule that did something.
type Step struct {
	Table   string   `json:"table"`
	Chain   string   `json:"chain"`
	Rule    string   `json:"rule"`
	Entries []string `json:"entries,omitempty"` // of sets, that matched
	Does    string   `json:"does"`
	To      string   `json:"to,omitempty"` // the destination that it gives the packet

	rule *iptables.Rule
	sets []state.SetName // of Entries
}

// Server is a virtual server, as ipvsadm shows it.
type Server struct {
	Address   string     `json:"address"`
	Protocol  string     `json:"protocol"`
	For       string     `json:"for,omitempty"` // whose traffic it takes, where there are two
	Present   bool       `json:"present"`
	Scheduler string     `json:"scheduler,omitempty"`
	Affinity  uint32     `json:"affinitySeconds,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is an endpoint of the Service's EndpointSlices, or a real server
// that is none.
type Endpoint struct {
	Address     string  `json:"address"`
	Slice       string  `json:"slice,omitempty"` // empty: no EndpointSlice has it
	Node        string  `json:"node,omitempty"`
	Ready       bool    `json:"ready"`
	Serving     bool    `json:"serving"`
	Terminating bool    `json:"terminating"`
	ForNodes    string  `json:"hintNodes,omitempty"`
	ForZones    string  `json:"hintZones,omitempty"`
	Chosen      bool    `json:"chosen"`
	Reason      string  `json:"reason"` // a word that does not change; see docs/explain.md
	Why         string  `json:"why"`
	Weight      *uint32 `json:"weight"` // in the kernel; null: it is no real server
	Connections uint32  `json:"connections"`
}

// Difference is something that is not as wanted.
type Difference struct {
	What   string   `json:"what"` // missing, extra, changed
	Object string   `json:"object"`
	Want   string   `json:"want,omitempty"`
	Have   string   `json:"have,omitempty"`
	Why    string   `json:"why,omitempty"` // for what it is
	Common bool     `json:"common"`        // all Services need it
	Detail []string `json:"detail,omitempty"`
}

const schema = "kube-ipvs/explain/v1"
