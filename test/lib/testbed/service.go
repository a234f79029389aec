package testbed

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Service is a Service whose addresses and ports follow from its number, so that a
// test names only the fields that matter to it.
type Service struct {
	Name        string
	Number      int      // 1 to 12 for addresses in the LAN; to 250 in the pools of AddRouter
	Type        string   // ClusterIP if empty
	External    bool     // has external IPs, too
	Protocols   []string // TCP and UDP if empty
	Families    []string // IPv4 and IPv6 if empty; the first is that of the primary ClusterIP
	Port        int      // 80 if zero
	Spec        []string // further lines of the spec
	Annotations string   // in YAML's flow style, such as "a: b"
}

// lanNumbers is how many Services have addresses in the LAN.
const lanNumbers = 12

// TargetPort is where the endpoints of a Service listen.
const TargetPort = 8080

// Frontend is a way to address a Service, in both families.
type Frontend struct {
	Name   string
	V4, V6 netip.AddrPort
}

// Addr returns the address of one family.
func (f Frontend) Addr(four bool) netip.AddrPort {
	if four {
		return f.V4
	}
	return f.V6
}

func (s Service) port() uint16 {
	if s.Port == 0 {
		return 80
	}
	return uint16(s.Port)
}

func (s Service) frontend(name, v4, v6 string) Frontend {
	return Frontend{name, netip.AddrPortFrom(netip.MustParseAddr(v4), s.port()), netip.AddrPortFrom(netip.MustParseAddr(v6), s.port())}
}

// ClusterIP returns the Service's own addresses.
func (s Service) ClusterIP() Frontend {
	if s.Number > lanNumbers {
		return s.frontend("ClusterIP", fmt.Sprintf("10.96.1.%d", s.Number), fmt.Sprintf("fd96::1%03d", s.Number))
	}
	return s.frontend("ClusterIP", fmt.Sprintf("10.96.0.%d", 100+s.Number), fmt.Sprintf("fd96::%d", 100+s.Number))
}

// LoadBalancer returns its load-balancer addresses.
func (s Service) LoadBalancer() Frontend {
	if s.Number > lanNumbers {
		return s.frontend("load-balancer IP", pooled(lbPool4, s.Number), pooled(lbPool6, s.Number))
	}
	return s.frontend("load-balancer IP", fmt.Sprintf("192.168.50.%d", 200+s.Number), fmt.Sprintf("fd50::%d", 200+s.Number))
}

// ExternalIP returns its external addresses.
func (s Service) ExternalIP() Frontend {
	if s.Number > lanNumbers {
		return s.frontend("external IP", pooled(externalPool4, s.Number), pooled(externalPool6, s.Number))
	}
	return s.frontend("external IP", fmt.Sprintf("192.168.50.%d", 212+s.Number), fmt.Sprintf("fd50::%d", 212+s.Number))
}

// NodePort returns its node port on the node.
func (s Service) NodePort() Frontend {
	f := s.frontend("node port", lan[0].v4, lan[0].v6)
	port := uint16(30000 + s.Number)
	return Frontend{f.Name, netip.AddrPortFrom(f.V4.Addr(), port), netip.AddrPortFrom(f.V6.Addr(), port)}
}

// Outside returns all frontends for clients outside the cluster.
func (s Service) Outside() []Frontend {
	var out []Frontend
	if s.Type == "LoadBalancer" {
		out = append(out, s.LoadBalancer())
	}
	if s.External {
		out = append(out, s.ExternalIP())
	}
	if s.Type == "NodePort" || s.Type == "LoadBalancer" {
		out = append(out, s.NodePort())
	}
	return out
}

// Frontends returns all frontends.
func (s Service) Frontends() []Frontend { return append(s.Outside(), s.ClusterIP()) }

func (s Service) protocols() []string {
	if s.Protocols == nil {
		return []string{"TCP", "UDP"}
	}
	return s.Protocols
}

func (s Service) families() []string {
	if s.Families == nil {
		return []string{"IPv4", "IPv6"}
	}
	return s.Families
}

// Manifest returns the Service as YAML, without endpoints.
func (s Service) Manifest() string {
	var out strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	cluster, lb, external := s.ClusterIP(), s.LoadBalancer(), s.ExternalIP()
	w("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, annotations: {%s}}\nspec:", s.Name, s.Annotations)
	if s.Type != "" {
		w("  type: %s", s.Type)
	}
	var ips []string
	for _, family := range s.families() {
		ips = append(ips, strconv.Quote(cluster.Addr(family == "IPv4").Addr().String()))
	}
	w("  clusterIPs: [%s]\n  ipFamilies: [%s]", strings.Join(ips, ", "), strings.Join(s.families(), ", "))
	if s.External {
		w("  externalIPs: [%q, %q]", external.V4.Addr(), external.V6.Addr())
	}
	for _, line := range s.Spec {
		w("  %s", line)
	}
	w("  ports:")
	for _, p := range s.protocols() {
		nodePort := ""
		if s.Type == "NodePort" || s.Type == "LoadBalancer" {
			nodePort = fmt.Sprintf(", nodePort: %d", s.NodePort().V4.Port())
		}
		w("  - {name: %s, protocol: %s, port: %d, targetPort: %d%s}", strings.ToLower(p), p, s.port(), TargetPort, nodePort)
	}
	if s.Type == "LoadBalancer" {
		w("status: {loadBalancer: {ingress: [{ip: %q}, {ip: %q}]}}", lb.V4.Addr(), lb.V6.Addr())
	}
	return out.String()
}

// With returns the Service and its EndpointSlices as YAML.
func (b *Bed) With(s Service, backends []Backend) string {
	out := s.Manifest()
	for _, p := range s.protocols() {
		out += b.Slices(s.Name, strings.ToLower(p), p, TargetPort, backends)
	}
	return out
}
