// Package ipvs controls the kernel's load balancer IPVS over generic netlink (linux/ip_vs.h).
// Thousands of writes go in one system call. ReadTable reads the whole table from /proc, at a
// small part of the cost of a request for the destinations of each service.
//
// Services and destinations are those of github.com/moby/ipvs. This package does not use its
// Handle, which reports success on a kernel without IPVS, needs up to three system calls a
// request, and hangs forever if two goroutines share it.
package ipvs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// familyName is that of the kernel's netlink family.
const familyName = "IPVS"

// Client talks to the kernel. Only one goroutine may use it at a time.
type Client struct {
	conn   *netutil.Conn
	family uint16
	b      netutil.Batch
}

// Open returns a Client for the network namespace of the calling thread. It returns ErrNoIPVS
// if the kernel has no IPVS, and ErrNotPermitted if this process may not use it. It makes the
// kernel load the module, before Linux 5.16 only with CAP_SYS_MODULE.
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
	err := c.findFamily(familyName)
	if errors.Is(err, ErrNoIPVS) {
		if err = netutil.LoadModule("ip_vs"); err == nil {
			err = c.findFamily(familyName)
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

// findFamily asks for the kernel's present number of the netlink family. The number changes
// when the module is unloaded and loaded again; then all requests of this Client fail with
// unix.ENOENT.
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

// Loaded reports whether the kernel has IPVS now. It makes the kernel load nothing.
func Loaded() (bool, error) { return hasFamily(familyName) }

// hasFamily looks for a netlink family in the list of all, which loads no module, unlike
// findFamily.
func hasFamily(name string) (found bool, err error) {
	conn, err := netutil.Dial(unix.NETLINK_GENERIC)
	if err != nil {
		return false, fmt.Errorf("ipvs: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var b netutil.Batch
	b.Begin(unix.GENL_ID_CTRL, 0, unix.CTRL_CMD_GETFAMILY, 1, 0, 0)
	err = netutil.Retry(func() error {
		return conn.Dump(&b, func(_ uint16, p []byte) error {
			each(attrs(p), func(a netutil.Attr) {
				found = found || a.Type == unix.CTRL_ATTR_FAMILY_NAME && text(a.Data) == name
			})
			return nil
		})
	})
	if err != nil {
		return false, fmt.Errorf("list the kernel's netlink families: %w", err)
	}
	return found, nil
}

// Close closes the socket.
func (c *Client) Close() error { return c.conn.Close() }

// Stats counts the requests so far. Safe from any goroutine.
func (c *Client) Stats() netutil.Stats { return c.conn.Stats() }

// Exec sends the requests of NewService and the others in b, as netutil.Conn.Exec does. It
// returns nil if all succeed, else one error a request, in words.
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
