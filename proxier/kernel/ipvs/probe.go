package ipvs

import (
	"errors"
	"fmt"
	"net"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// ProbeScheduler finds out whether the kernel has a scheduler, by creating a
// virtual server with it at an address that nobody has (TEST-NET-1) and
// deleting it. Asking makes a kernel with modules load it. The error is
// ErrNoScheduler if there is none, and says what to do.
func (c *Client) ProbeScheduler(name string) error {
	err := c.probe(net.IPv4(192, 0, 2, 1), name)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w %q: %s", ErrNoScheduler, name, netutil.Lacks("ip_vs_"+name))
	}
	if err != nil {
		return fmt.Errorf("probe the IPVS scheduler %q: %w", name, err)
	}
	return nil
}

// ProbeIPv6 finds out whether IPVS takes IPv6, as ProbeScheduler does with the scheduler
// of which there is one already.
func (c *Client) ProbeIPv6(scheduler string) error {
	err := c.probe(net.ParseIP("2001:db8::1"), scheduler)
	if err != nil {
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
			continue // somebody else's, and so not ours to delete
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

// Schedulers returns which of the names are schedulers that the kernel has, by
// trying each. For messages to people: it makes the kernel load every module.
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
