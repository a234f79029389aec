package ipvs

import (
	"errors"
	"fmt"
	"net"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// ProbeScheduler returns nil if the kernel has a scheduler, else ErrNoScheduler in a
// netutil.MissingModules. It creates a virtual server with it at an unused address (TEST-NET-1, RFC 5737) and
// deletes it, by which the kernel loads the scheduler's module.
func (c *Client) ProbeScheduler(name string) error {
	err := c.probe(net.IPv4(192, 0, 2, 1), name)
	if errors.Is(err, unix.ENOENT) {
		return &netutil.MissingModules{Err: fmt.Errorf("%w %q", ErrNoScheduler, name), Modules: []string{"ip_vs_" + name}}
	}
	if err != nil {
		return fmt.Errorf("probe the IPVS scheduler %q: %w", name, err)
	}
	return nil
}

// ProbeIPv6 returns nil if IPVS takes IPv6, also if the kernel lacks the scheduler. It probes
// as ProbeScheduler.
func (c *Client) ProbeIPv6(scheduler string) error {
	err := c.probe(net.ParseIP("2001:db8::1"), scheduler)
	if err != nil && !errors.Is(err, unix.ENOENT) { // IPVS looks at the family first, and then for the scheduler
		return fmt.Errorf("probe IPVS of IPv6: %w", err)
	}
	return nil
}

func (c *Client) probe(address net.IP, scheduler string) error {
	s := &moby.Service{Address: address, Protocol: unix.IPPROTO_TCP, Port: 65535, SchedName: scheduler}
	for tries := 16; ; s.Port-- {
		c.b.Reset()
		c.NewService(&c.b, s)
		err := c.one()
		if tries--; errors.Is(err, unix.EEXIST) && tries > 0 {
			continue // the virtual server of another program, which must stay
		}
		if err != nil {
			return err
		}
		c.b.Reset()
		c.DelService(&c.b, s)
		if err := c.one(); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("delete the virtual server %v: %w", KeyOf(s), err)
		}
		return nil
	}
}

// Schedulers returns the names of schedulers that the kernel has. It probes each, by which the
// kernel loads every module: use it for messages only.
func (c *Client) Schedulers(names []string) ([]string, error) {
	var have []string
	for _, name := range names {
		err := c.ProbeScheduler(name)
		if err == nil {
			have = append(have, name)
		} else if !errors.Is(err, ErrNoScheduler) {
			return nil, err
		}
	}
	return have, nil
}
