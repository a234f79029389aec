// Package health tells others how the proxy is: probes, health-check node
// ports of Services, metrics and status pages, by the names that kube-proxy
// gave them. It reads Rounds and programs nothing.
//
//	Health   verdict on the proxy and the node; /healthz, /livez, /readyz
//	Ports    a listener for each Service with a health-check node port
//	Metrics  Rounds as Prometheus metrics
//	Traffic  what IPVS counted for Services, as metrics; opt-in
//	Tables   how full the kernel's tables are, as metrics
//	Refused  what the kernel refused for want of endpoints, as metrics
//	Pages    what the metrics address serves
//	Serve    one address that is served until the end
//
// Health, Ports and Metrics have a method Observe, for proxier.Config.Observe.
// The daemon makes them before the Proxier, of which Health asks for Backlog.
package health
