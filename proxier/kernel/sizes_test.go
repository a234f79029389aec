package kernel

import (
	"net/netip"

	"pgregory.net/rapid"

	"kube-ipvs/proxier/state"
)

// sizesOf asks for every virtual server that drawOp may have made.
func sizesOf(t *rapid.T, k Kernel) Sizes {
	t.Helper()
	var servers []state.ID
	for _, addr := range []string{"10.96.0.10", "242.96.0.10", "fd96::10"} {
		for _, proto := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
			servers = append(servers, state.VirtualServerID(proto, netip.AddrPortFrom(netip.MustParseAddr(addr), 80)))
		}
	}
	sizes, err := k.Sizes(ctx, servers)
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}
