package testbed

import (
	"fmt"
	"strings"
)

// Backend is one endpoint of a Service in a manifest.
type Backend struct {
	Host  *Host
	State string // "", "unready", "terminating" (and serving), "dead" (terminating, not serving) or "published" (terminating, but ready, by publishNotReadyAddresses)
	Pod   string // name of the pod, which shows its workload; "": none
	// Zones and Nodes are topology hints.
	Zones, Nodes []string
}

// targetRef returns the field of that name, or nothing.
func (e Backend) targetRef() string {
	if e.Pod == "" {
		return ""
	}
	return fmt.Sprintf(", targetRef: {kind: Pod, name: %s}", e.Pod)
}

// hints returns the field of that name, or nothing.
func (e Backend) hints() string {
	if e.Zones == nil && e.Nodes == nil {
		return ""
	}
	list := func(names []string) string {
		var out []string
		for _, n := range names {
			out = append(out, fmt.Sprintf("{name: %s}", n))
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	return fmt.Sprintf(", hints: {forZones: %s, forNodes: %s}", list(e.Zones), list(e.Nodes))
}

// Backends makes ready endpoints of hosts.
func Backends(hosts ...*Host) []Backend {
	var out []Backend
	for _, h := range hosts {
		out = append(out, Backend{Host: h})
	}
	return out
}

// Slices returns the EndpointSlices of a Service, one a family, with the port
// named name at number. nodes tells on which node each host runs.
func (b *Bed) Slices(service, portName, proto string, port int, backends []Backend) string {
	var out strings.Builder
	for _, family := range []string{"IPv4", "IPv6"} {
		fmt.Fprintf(&out, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s-%s-%s, labels: {kubernetes.io/service-name: %s}}
addressType: %s
ports: [{name: %q, protocol: %s, port: %d}]
endpoints:
`, service, strings.ToLower(family), strings.ToLower(proto), service, family, portName, proto, port)
		for _, e := range backends {
			addr := e.Host.IPv4
			if family == "IPv6" {
				addr = e.Host.IPv6
			}
			ready := e.State == "" || e.State == "published"
			serving, terminating := ready || e.State == "terminating", e.State == "published" || e.State == "terminating" || e.State == "dead"
			fmt.Fprintf(&out, "- {addresses: [%q], nodeName: %s, conditions: {ready: %v, serving: %v, terminating: %v}%s%s}\n",
				addr, b.NodeOf(e.Host), ready, serving, terminating, e.hints(), e.targetRef())
		}
		if len(backends) == 0 {
			out.WriteString("  []\n")
		}
	}
	return out.String()
}

// NodeOf returns the name of the node that a host is or runs on.
func (b *Bed) NodeOf(h *Host) string {
	for _, p := range pods {
		if p.name == h.Name {
			return p.on
		}
	}
	return h.Name
}
