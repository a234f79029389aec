// Package health serves the health of the proxy: probes, health-check node ports of Services
// and pages, by kube-proxy's names. It reads Rounds and programs nothing.
//
//	Health   verdict on the proxy and the node; /healthz, /livez, /readyz
//	Ports    a listener for each Service with a health-check node port
//	Pages    the pages of the metrics address
//	Serve    serves one address until the end
//
// Health and Ports have a method Observe, for proxier.Config.Observe. The daemon makes them
// before the Proxier, which gives Health its Backlog.
package health
