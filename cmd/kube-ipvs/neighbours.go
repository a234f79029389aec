package main

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// warnOfNeighbours logs the settings that known programs on this node need beside kube-ipvs.
func warnOfNeighbours(warn func(msg string, args ...any), k *kernel.Linux, c desired.Config, binding netutil.Binding) {
	chains, _ := k.Backend().Chains(netutil.IPv4)
	has := func(chain string) bool {
		return slices.ContainsFunc(chains, func(ch netutil.Chain) bool { return ch.Name == chain })
	}
	if has("KUBE-ROUTER-INPUT") {
		var images []string
		for _, p := range c.Images[state.IPv4].All() {
			images = append(images, p.String())
		}
		warn("kube-router applies its policies to packets to Services for a moment of each of its syncs: give it the prefixes of mapped addresses", "setting", "--service-external-ip-range="+strings.Join(images, ","))
	}
	if c.Mode != desired.Direct {
		return
	}
	if has("cali-INPUT") && binding == netutil.BindRoute {
		warn("felix treats ClusterIPs that are routes as addresses of the node: set vipBinding to address")
	}
	if cached := cachedByNode(); len(cached) > 0 {
		warn("IPVS takes packets before NodeLocal DNSCache gets them: have pods ask it at its link-local address, or set clusterIPServers to image", "address", fmt.Sprint(cached))
	}
}

// cachedByNode returns the addresses of Services that NodeLocal DNSCache listens at.
func cachedByNode() (out []net.Addr) {
	device, err := net.InterfaceByName("nodelocaldns")
	if err != nil {
		return nil
	}
	addrs, _ := device.Addrs()
	return slices.DeleteFunc(addrs, func(a net.Addr) bool {
		ip, _, err := net.ParseCIDR(a.String())
		return err != nil || ip.IsLinkLocalUnicast()
	})
}
