package netutil

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// LinkTo returns the name of the link by which the kernel now sends packets to an address. It
// fails if there is no route.
func LinkTo(a netip.Addr) (string, error) {
	routes, err := netlink.RouteGet(a.AsSlice())
	if err != nil {
		return "", fmt.Errorf("look up the route to %s: %w", a, err)
	}
	if len(routes) == 0 {
		return "", fmt.Errorf("look up the route to %s: the node has none", a)
	}
	link, err := net.InterfaceByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("look up the link to %s: %w", a, err)
	}
	return link.Name, nil
}
