// Package explain tells the way of a packet to one Service on one node, as the kernel has it
// now, and the differences from the desired objects. It reads nothing itself and decides
// nothing: the model gives the reasons for endpoints, and a packet that explain sends through
// the kernel's rules and sets shows who is let in, rewritten and masqueraded.
package explain

import (
	"net/netip"

	"kube-ipvs/netutil/iptables"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// Node has the objects of the cluster and of the kernel that explain needs.
type Node struct {
	*desired.Preview

	Rules     [2]string               // the rules of kube-ipvs in the kernel, IPv4 and IPv6, as iptables-save prints them
	Differ    [2][]string             // differences from the desired rules, a line each
	Addresses []netip.Addr            // of the node's links
	Conns     map[state.ID]uint32     // connections of real servers
	LinkOf    func(netip.Addr) string // the link by which packets from an address come in, or ""

	rules  [2]ruleset
	parsed [2]string           // the texts of rules
	reals  map[state.ID][]real // by virtual server
}

// real is a real server in the kernel.
type real struct {
	at     netip.AddrPort
	weight uint32
}

// Explanation is the result for a Service. docs/explain.md documents its JSON form: later
// versions may add fields, and change none.
type Explanation struct {
	Schema    string       `json:"schema"`           // kube-ipvs/explain/v1
	Service   string       `json:"service"`          // namespace/name
	Asked     string       `json:"asked,omitempty"`  // what the asked address is to the Service, if clients do not dial it
	Origin    string       `json:"origin,omitempty"` // the file of the Service
	Node      string       `json:"node"`
	Zone      string       `json:"zone,omitempty"`
	Mode      string       `json:"clusterIPServers"` // image or direct
	Frontends []Frontend   `json:"frontends"`
	Hairpin   []string     `json:"hairpin"` // endpoints of this node that are masqueraded to themselves
	Differs   []Difference `json:"differences"`
	Problems  []string     `json:"problems"`         // of the Service and its EndpointSlices
	Complete  bool         `json:"complete"`         // false: some objects could not be read, and kube-ipvs would remove nothing
	Unread    []string     `json:"unread,omitempty"` // the unreadable objects, each with its file
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
	SourceRanges []string `json:"sourceRanges,omitempty"` // the source ranges in the kernel; none: all clients
	Ways         []Way    `json:"ways"`
	Servers      []Server `json:"virtualServers"`
}

// Fact is a statement about an object that is present or missing.
type Fact struct {
	Present bool   `json:"present"`
	Object  string `json:"object,omitempty"` // the object of the statement
	Text    string `json:"text"`
}

// The kinds of clients.
const (
	FromPod     = "pod"
	FromNode    = "node"
	FromOutside = "outside" // all other clients
)

// Client is the sender of the packet.
type Client struct {
	Kind    string `json:"kind"`
	Address string `json:"address,omitempty"` // with --from
	Link    string `json:"link,omitempty"`    // the incoming link, if links tell pods from others
	Why     string `json:"why,omitempty"`     // why it is of its kind

	allOfKind bool // it stands for all clients of its kind
	orPod     bool // it stands for pods too, which cannot be told apart
	addr      netip.Addr
}

// The outcomes for a new connection.
const (
	Served     = "served"     // IPVS gives it to an endpoint
	Refused    = "refused"    // the client learns it at once
	Dropped    = "dropped"    // the client gets no answer
	ToHost     = "to-host"    // no virtual server takes the packet: a process of the node may
	PassedOn   = "passed-on"  // the node forwards the packet
	Unroutable = "unroutable" // the mapped address has no route
)

// Way is the way of a client's first packet.
type Way struct {
	Client        Client   `json:"client"`
	To            string   `json:"to"` // the dialled address
	Outcome       string   `json:"outcome"`
	Why           string   `json:"why"`
	IfFrom        bool     `json:"ifInSourceRanges,omitempty"` // only for sources in the ranges; others are dropped
	Relay         string   `json:"relay,omitempty"`            // the work of the relay of node ports, if it gets the packet
	Server        string   `json:"virtualServer,omitempty"`    // the one that takes the packet
	Masquerade    string   `json:"masquerade,omitempty"`       // yes, no, or some: to the endpoints in masqueraded
	MasqueradeWhy string   `json:"masqueradeWhy,omitempty"`
	Masqueraded   []string `json:"masqueraded,omitempty"`
	Steps         []Step   `json:"steps"`
	Unsure        []string `json:"unsure,omitempty"` // rules that explain cannot judge
}

// Step is a rule that acted on the packet.
type Step struct {
	Table   string   `json:"table"`
	Chain   string   `json:"chain"`
	Rule    string   `json:"rule"`
	Entries []string `json:"entries,omitempty"` // matching set entries
	Does    string   `json:"does"`
	To      string   `json:"to,omitempty"` // the new destination of the packet

	rule *iptables.Rule
	sets []state.SetName // of Entries
}

// Server is a virtual server, as ipvsadm shows it.
type Server struct {
	Address   string     `json:"address"`
	Protocol  string     `json:"protocol"`
	For       string     `json:"for,omitempty"` // the clients that it serves, if there are two
	Present   bool       `json:"present"`
	Scheduler string     `json:"scheduler,omitempty"`
	Affinity  uint32     `json:"affinitySeconds,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is an endpoint of the Service's EndpointSlices, or a real server without one.
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
	Weight      *uint32 `json:"weight"` // in the kernel; null: there is no real server
	Connections uint32  `json:"connections"`

	Limit    uint32         `json:"limit,omitempty"`    // the connections at which it gets no new ones
	Standing state.Standing `json:"standing,omitempty"` // why it takes less than its full part
}

// Difference is an object that differs from the desired one.
type Difference struct {
	What   string   `json:"what"` // missing, extra, changed
	Object string   `json:"object"`
	Want   string   `json:"want,omitempty"`
	Have   string   `json:"have,omitempty"`
	Why    string   `json:"why,omitempty"` // the reason of the object
	Common bool     `json:"common"`        // all Services need it
	Detail []string `json:"detail,omitempty"`
}

const schema = "kube-ipvs/explain/v1"
