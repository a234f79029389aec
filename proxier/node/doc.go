// Package node is what a process does to the node and to itself before it
// programs anything: the lock that keeps a second one out, the settings that
// need more rights than CAP_NET_ADMIN, and giving those rights up. It knows
// nothing of Kubernetes.
package node
