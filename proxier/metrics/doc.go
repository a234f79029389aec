// Package metrics exports the metrics of the proxy itself: those of rounds, by
// kube-proxy's names and by its own, and those of faulty objects. Package traffic
// exports what the kernel counts. Each name stands here whole, as in docs/metrics.md.
package metrics
