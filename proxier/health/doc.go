// Package health tells others how the proxy is: probes, health-check node
// ports of Services and pages, by the names that kube-proxy gave them. It reads
// Rounds and programs nothing.
//
//	Health   verdict on the proxy and the node; /healthz, /livez, /readyz
//	Ports    a listener for each Service with a health-check node port
//	Pages    what the metrics address serves
//	Serve    one address that is served until the end
//
// Health and Ports have a method Observe, for proxier.Config.Observe. The
// daemon makes them before the Proxier, of which Health asks for Backlog.
package health
