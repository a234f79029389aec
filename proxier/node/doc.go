// Package node prepares the node and the process: it takes the lock that keeps a second
// kube-ipvs out, makes the settings that need more rights than CAP_NET_ADMIN, and drops these
// rights. It knows nothing of Kubernetes.
package node
