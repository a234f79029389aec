package status

import (
	"fmt"
	"net/netip"
	"strings"

	"kube-ipvs/proxier/state"
)

// Node has the programmed objects of a node, as the command state prints them.
type Node struct {
	Services []Service    `json:"services"`
	VIPs     []netip.Addr `json:"vips"`
	// Unpublished has the virtual servers of kube-ipvs behind no frontend, such as those of
	// an interrupted start.
	Unpublished []Server       `json:"unpublished,omitempty"`
	Objects     map[string]int `json:"objects"`
}

// Service is one port of a Service.
type Service struct {
	Service   string     `json:"service"` // namespace/name:port
	Frontends []Frontend `json:"frontends"`
	More      int        `json:"moreFrontends,omitempty"` // frontends that are left out
	Problems  []string   `json:"problems,omitempty"`      // of the Service; only Page sets it
}

// Frontend is one address that clients dial.
type Frontend struct {
	Kind     string   `json:"kind"`    // ClusterIP, external or node port
	Address  string   `json:"address"` // node ports: *:PORT (IPv4)
	Protocol string   `json:"protocol"`
	Notes    []string `json:"notes,omitempty"` // such as "refused: no endpoint"
	Servers  []Server `json:"virtualServers"`
}

// Dialled returns the address that clients dial, as explain writes it: 10.96.0.10:80/tcp, or
// *:30080/tcp (IPv4) for a node port.
func (f Frontend) Dialled() string {
	address, family, _ := strings.Cut(f.Address, " ")
	return strings.TrimSpace(address + "/" + f.Protocol + " " + family)
}

// Server is one virtual server, as ipvsadm shows it.
type Server struct {
	Address   string     `json:"address"`
	Protocol  string     `json:"protocol"`
	For       string     `json:"for,omitempty"` // the clients that it serves, if there are two
	Scheduler string     `json:"scheduler"`     // MISSING: the kernel lacks the virtual server
	Affinity  uint32     `json:"affinitySeconds,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is one real server.
type Endpoint struct {
	Address  netip.AddrPort `json:"address"`
	Weight   uint32         `json:"weight"`             // 0: gets no new connections
	Limit    uint32         `json:"limit,omitempty"`    // the connections at which it gets no new ones; 0: none
	Standing state.Standing `json:"standing,omitempty"` // why it takes less than its full part; only Page knows all reasons
	Total    uint32         `json:"connections"`        // active and inactive
	Connections
}

// standings has the words for an endpoint, and for a number of them.
var standings = map[state.Standing]struct{ one, many string }{
	state.Draining:   {"draining", "draining"},
	state.ZeroWeight: {"by a weight rule", "with weight 0"},
	state.Ejected:    {"ejected, since it does not answer", "ejected"},
	state.SlowStart:  {"slow start", "in slow start"},
	state.AtLimit:    {"at its limit", "at the limit"},
	state.NoNew:      {"no new ones", "without new connections"},
}

// Note returns the limit and the standing in words, such as ", at its limit of 100"; "": it
// has neither.
func (e Endpoint) Note() string {
	note := ""
	if e.Standing != "" {
		note = ", " + standings[e.Standing].one
	}
	switch {
	case e.Standing == state.AtLimit:
		note += fmt.Sprintf(" of %d", e.Limit)
	case e.Limit > 0:
		note += fmt.Sprintf(", at most %d", e.Limit)
	}
	return note
}

// Connections counts the connections of a real server as IPVS does.
type Connections struct {
	Active   uint32 `json:"active"`   // established
	Inactive uint32 `json:"inactive"` // in other states, and all of a protocol without states
}
