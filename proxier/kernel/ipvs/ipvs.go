// Package ipvs controls the kernel's load balancer IPVS over generic netlink
// (linux/ip_vs.h). Writes are encoded into batches of which thousands go in
// one system call; the whole table is read from /proc, which costs a small
// part of what asking for each service's destinations does.
//
// Services and destinations are those of github.com/moby/ipvs. Its Handle is
// not used: it reports success where the kernel has no IPVS, needs a system
// call or three for every request, and stops forever when two goroutines
// share it.
package ipvs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// Client talks to the kernel. Only one goroutine may use it at a time.
type Client struct {
	conn   *netutil.Conn
	family uint16
	b      netutil.Batch
}

// Open returns a Client for the network namespace of the calling thread. It
// finds out afresh that the kernel has IPVS and that this process may use it. The
// error is ErrNoIPVS or ErrNotPermitted where not. To ask has a kernel load the
// module since Linux 5.16; before, a process with CAP_SYS_MODULE has it loaded.
func Open() (*Client, error) {
	conn, err := netutil.Dial(unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("ipvs: %w", err)
	}
	c := &Client{conn: conn}
	if err := c.setup(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) setup() error {
	err := c.findFamily("IPVS")
	if errors.Is(err, ErrNoIPVS) {
		if err = netutil.LoadModule("ip_vs"); err == nil {
			err = c.findFamily("IPVS")
		}
	}
	if err != nil {
		return err
	}
	_, _, _, err = c.Timeouts() // the cheapest request that needs the permission
	if errors.Is(err, unix.EPERM) {
		return ErrNotPermitted
	}
	return err
}

// findFamily asks for the number under which the kernel knows IPVS now. It
// changes when the module is unloaded and loaded again; this Client is then
// of no use, and all it asks for fails with unix.ENOENT.
func (c *Client) findFamily(name string) error {
	c.b.Reset()
	c.b.Begin(unix.GENL_ID_CTRL, 0, unix.CTRL_CMD_GETFAMILY, 1, 0, 0)
	c.b.String(unix.CTRL_ATTR_FAMILY_NAME, name)
	c.family = 0
	err := c.conn.Get(&c.b, func(_ uint16, p []byte) error {
		each(attrs(p), func(a netutil.Attr) {
			if a.Type == unix.CTRL_ATTR_FAMILY_ID {
				c.family = u16(a.Data)
			}
		})
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return ErrNoIPVS
	}
	if err == nil && c.family < unix.NLMSG_MIN_TYPE {
		err = errMalformed // a lower number would make every request a success that does nothing
	}
	if err != nil {
		return fmt.Errorf("look up the kernel's netlink family IPVS: %w", err)
	}
	return nil
}

// Close closes the socket.
func (c *Client) Close() error { return c.conn.Close() }

// Stats counts what was sent so far. Safe from any goroutine.
func (c *Client) Stats() netutil.Stats { return c.conn.Stats() }

// Exec sends what NewService and the rest put into b, as netutil.Conn.Exec
// does: nil when all succeeded, else one error a request, in words.
func (c *Client) Exec(b *netutil.Batch) []error {
	errs := c.conn.Exec(b)
	for i, err := range errs {
		errs[i] = Error(err)
	}
	return errs
}

// one executes the one request of the client's own batch.
func (c *Client) one() error {
	if errs := c.Exec(&c.b); errs != nil {
		return errs[0]
	}
	return nil
}
