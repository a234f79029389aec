package status

import (
	"net/netip"
	"strings"
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
	Address netip.AddrPort `json:"address"`
	Weight  uint32         `json:"weight"`      // 0: drains
	Total   uint32         `json:"connections"` // active and inactive
	Connections
}

// Connections counts the connections of a real server as IPVS does.
type Connections struct {
	Active   uint32 `json:"active"`   // established
	Inactive uint32 `json:"inactive"` // in other states, and all of a protocol without states
}
