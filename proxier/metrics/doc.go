// Package metrics has what /metrics says of the proxy itself: what Rounds did, by
// kube-proxy's names and by names of its own, and what is wrong with objects. What
// the kernel counts is in package traffic. The names stand here as docs/metrics.md
// has them, whole.
package metrics
