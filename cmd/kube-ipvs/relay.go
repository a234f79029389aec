package main

import (
	"fmt"
	"log/slog"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/relay"
	"kube-ipvs/proxier/state"
)

// listen opens the listeners to which rules will send the clients of node ports on loopback
// addresses. If it cannot for a family, that family is served without them, since another
// program with that port would get the clients.
func listen(c *desired.Config, log *slog.Logger) (all []*relay.Listener) {
	for _, family := range state.Families(true) {
		at := c.Relay(family)
		if !at.IsValid() {
			continue
		}
		l, err := relay.Listen(at)
		if err != nil {
			c.Localhost[family] = false
			log.Error("node ports on loopback addresses are refused: their relay cannot listen. Free its port, and start kube-ipvs again",
				"address", at.Addr(), "port", at.Port(), "find", fmt.Sprintf("ss -lntup sport = %d", at.Port()), "err", err)
			continue
		}
		all = append(all, l)
	}
	return all
}

func (d *daemon) addRelay(listeners []*relay.Listener) error {
	if len(listeners) == 0 {
		return nil
	}
	var err error
	if d.origins, err = netutil.OpenConntrack(); err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	d.relay = relay.New(relay.Config{Listeners: listeners, Origin: d.origins.Origin, Log: d.log})
	return d.metrics.Register(d.relay)
}
