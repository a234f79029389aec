package main

import (
	"fmt"
	"net/netip"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/relay"
	"kube-ipvs/proxier/state"
)

// relays are where the relay of node ports on loopback addresses listens; none where
// these are not served.
func relays(d desired.Config) (at []netip.AddrPort) {
	for _, family := range []netip.Addr{state.IPv4, state.IPv6} {
		if a := d.Relay(family); a.IsValid() {
			at = append(at, a)
		}
	}
	return at
}

func (d *daemon) addRelay(c desired.Config) error {
	at := relays(c)
	if len(at) == 0 {
		return nil
	}
	var err error
	if d.origins, err = netutil.OpenConntrack(); err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	d.relay = relay.New(relay.Config{At: at, Origin: d.origins.Origin, Log: d.log})
	return d.metrics.Register(d.relay)
}
