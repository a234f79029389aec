// Package netutil controls those parts of Linux networking for which no library is fast
// enough for kube-ipvs: netlink requests in batches, the dummy device's addresses and routes,
// conntrack deletion by the kernel's own filter, sysctls, iptables-restore and nftables. It
// does not know Kubernetes or Services.
package netutil
