// Package netutil holds what kube-ipvs needs of Linux networking and no
// library has at the speed it needs: netlink requests in batches, the dummy
// device's addresses and routes, conntrack deletion by the kernel's own
// filter, sysctls and iptables-restore. It knows nothing of Kubernetes and
// nothing of Services.
package netutil
