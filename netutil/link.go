package netutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Links reads and writes links, addresses and routes of the network namespace
// it was opened in. Only one goroutine may use it at a time.
type Links struct {
	handle *netlink.Handle // single links, where its decoding is worth its price
	conn   *Conn           // everything that comes in hundreds
	lists  *lists          // within Together
}

// lists are what was listed within Together, nil before.
type lists struct {
	devices   []device
	addresses []Address
}

// Together calls read, within which all links and all addresses are listed once, however
// many callers ask for them: a node has thousands.
func (l *Links) Together(read func() error) error {
	l.lists = &lists{}
	defer func() { l.lists = nil }()
	return read()
}

// OpenLinks opens the sockets.
func OpenLinks() (*Links, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink: %w", err)
	}
	c, err := Dial(unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, err
	}
	return &Links{handle: h, conn: c}, nil
}

// Close closes the sockets.
func (l *Links) Close() error {
	l.handle.Close()
	return l.conn.Close()
}

// Exec sends address and route requests; see Conn.Exec.
func (l *Links) Exec(b *Batch) []error { return l.conn.Exec(b) }

// Stats counts the requests and dumps.
func (l *Links) Stats() Stats { return l.conn.Stats() }

// Unfinished is the alias that FindDummy returns for a device of CreateDummy that did not get
// its own alias, since the process was killed.
const Unfinished = "(unfinished)"

// madeGroup is the group of devices that CreateDummy makes: "KIPV" in ASCII. The kernel takes
// it in the request that makes them.
const madeGroup = 0x4b495056

// FindDummy looks for the dummy device called name. It ignores a link of another kind with that
// name.
func (l *Links) FindDummy(name string) (index int, alias string, exists bool, err error) {
	link, err := l.handle.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return 0, "", false, nil
	}
	if err != nil {
		return 0, "", false, fmt.Errorf("look for link %s: %w", name, err)
	}
	if link.Type() != "dummy" {
		return 0, "", false, nil
	}
	index, alias = link.Attrs().Index, link.Attrs().Alias
	if alias == "" && link.Attrs().Group == madeGroup {
		alias = Unfinished
	}
	return index, alias, true, nil
}

// Taken reports whether a link of another kind than dummy has the name.
func (l *Links) Taken(name string) (bool, error) {
	link, err := l.handle.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for link %s: %w", name, err)
	}
	return link.Type() != "dummy", nil
}

// CreateDummy creates the dummy device called name and leaves it down, which
// keeps it silent: its addresses are local all the same. The error is EEXIST
// when the name is taken and EOPNOTSUPP when the kernel has no dummy devices.
//
// The kernel ignores an alias in the request that creates a device, so that it
// is set by a second one. A crash between the two leaves a device that FindDummy tells to be
// Unfinished.
func (l *Links) CreateDummy(name, alias string) (index int, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group = name, madeGroup
	link := &netlink.Dummy{LinkAttrs: attrs}
	if err := l.handle.LinkAdd(link); err != nil {
		return 0, fmt.Errorf("create dummy link %s: %w", name, err)
	}
	index, _, exists, err := l.FindDummy(name)
	if err != nil {
		return 0, err
	}
	if !exists {
		return 0, fmt.Errorf("dummy link %s vanished after its creation", name)
	}
	link.Index = index
	if err := l.handle.LinkSetAlias(link, alias); err != nil {
		return 0, errors.Join(fmt.Errorf("set alias of dummy link %s: %w", name, err), l.DeleteLink(index))
	}
	return index, nil
}

// HasDummies reports whether the kernel has dummy devices, and makes it load their module. It
// asks for a device with an impossible address, so that none is made.
func (l *Links) HasDummies() (bool, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = "kube-ipvs-probe", make(net.HardwareAddr, 6)
	err := l.handle.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	}
	return false, fmt.Errorf("ask for dummy devices: %w", err)
}

// DeleteLink deletes a link with its addresses. Idempotent.
func (l *Links) DeleteLink(index int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Index = index
	err := l.handle.LinkDel(&netlink.GenericLink{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %d: %w", index, err)
	}
	return nil
}

// device is what the choice of the node's address needs of a link.
type device struct {
	index int
	flags uint32 // IFF_
	mtu   uint32
	kind  string // "dummy", "veth", or empty for hardware
}

// devices dumps all links.
func (l *Links) devices() ([]device, error) {
	if l.lists == nil {
		return l.dumpDevices()
	}
	var err error
	if l.lists.devices == nil {
		l.lists.devices, err = l.dumpDevices()
	}
	return l.lists.devices, err
}

func (l *Links) dumpDevices() ([]device, error) {
	var all []device
	err := Retry(func() error {
		all = all[:0]
		var b Batch
		b.Begin(unix.RTM_GETLINK, 0, make([]byte, unix.SizeofIfInfomsg)...)
		return l.conn.Dump(&b, func(typ uint16, data []byte) error {
			if d, ok := parseDevice(data); ok && typ == unix.RTM_NEWLINK {
				all = append(all, d)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return all, nil
}

// parseDevice reads struct ifinfomsg and its attributes.
func parseDevice(p []byte) (device, bool) {
	if len(p) < unix.SizeofIfInfomsg {
		return device{}, false
	}
	d := device{index: int(int32(binary.NativeEndian.Uint32(p[4:]))), flags: binary.NativeEndian.Uint32(p[8:])}
	for a, rest, ok := NextAttr(p[unix.SizeofIfInfomsg:]); ok; a, rest, ok = NextAttr(rest) {
		switch a.Type {
		case unix.IFLA_MTU:
			d.mtu = a.u32()
		case unix.IFLA_LINKINFO:
			for n, more, ok := NextAttr(a.Data); ok; n, more, ok = NextAttr(more) {
				if n.Type == unix.IFLA_INFO_KIND {
					d.kind = unix.ByteSliceToString(n.Data)
				}
			}
		}
	}
	return d, true
}

// SetUp sets the link called name up. Idempotent.
func (l *Links) SetUp(name string) error {
	link, err := l.handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("look for link %s: %w", name, err)
	}
	return l.handle.LinkSetUp(link)
}
