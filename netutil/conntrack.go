package netutil

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Flow says which conntrack entries to delete: those that fit all that it
// names. An invalid or unspecified address and port 0 fit everything.
type Flow struct {
	Proto    uint8          // IP protocol number; 0, without ports, fits every one
	Dst      netip.AddrPort // where the first packet was sent
	Endpoint netip.AddrPort // where replies come from, which differs from Dst after DNAT

	Unreplied bool // only those to which nobody has replied yet
}

// check reports why f cannot be executed.
func (f Flow) check() error {
	d, e := f.Dst.Addr(), f.Endpoint.Addr()
	switch {
	case !d.IsValid() && !e.IsValid():
		return errors.New("names no address and so no family")
	case d.IsValid() && e.IsValid() && d.Is4() != e.Is4():
		return errors.New("mixes IPv4 and IPv6")
	case d.Is4In6() || e.Is4In6():
		return errors.New("names an IPv4 address in IPv6 form")
	case f.shape()&^(shapeProto|shapeUnreplied) == 0:
		return errors.New("fits every flow of its family or protocol")
	case f.Proto == 0 && f.shape()&(shapeDstPort|shapeEndPort) != 0:
		return errors.New("names a port and no protocol")
	}
	return nil
}

// family returns AF_INET or AF_INET6.
func (f Flow) family() uint8 {
	if f.Dst.Addr().IsValid() {
		return family(f.Dst.Addr())
	}
	return family(f.Endpoint.Addr())
}

// String describes f.
func (f Flow) String() string {
	kind := "flows"
	if f.Unreplied {
		kind = "unanswered flows"
	}
	return fmt.Sprintf("%s of protocol %d to %s answered by %s", kind, f.Proto, f.Dst, f.Endpoint)
}

// Conntrack deletes connection tracking entries of the network namespace that
// it was opened in. Only one goroutine may use it at a time.
type Conntrack struct {
	conn    *Conn
	filters map[filter]support // whether the kernel deletes by it
	deleted atomic.Uint64
}

// filter is a kind of filter that a kernel may have or not, or have wrongly.
type filter struct {
	family    uint8
	unreplied bool
}

// support is what is known of a feature of the kernel.
type support uint8

const (
	unknown support = iota
	yes
	no
)

// scanFlows is the number of flows from which on one dump is cheaper than that
// many filters: each walks the whole table inside the kernel, a dump costs
// about five such walks.
const scanFlows = 6

// OpenConntrack opens the socket. It does not need the kernel to have
// conntrack; DeleteFlows does.
func OpenConntrack() (*Conntrack, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &Conntrack{conn: c, filters: map[filter]support{}}, nil
}

// Close closes the socket.
func (c *Conntrack) Close() error { return c.conn.Close() }

// Probe finds out what DeleteFlows would find out when it is first called, and
// may not be able to any more by then: it needs CAP_SYS_ADMIN.
func (c *Conntrack) Probe() {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		c.canFilter(filter{family, false})
		c.canFilter(filter{family, true})
	}
}

// Stats returns the counts of the socket. Safe from any goroutine.
func (c *Conntrack) Stats() Stats { return c.conn.Stats() }

// Deleted returns how many entries are known to have been deleted. A kernel
// that deletes by filter does not tell how many; those are not in it. Safe
// from any goroutine.
func (c *Conntrack) Deleted() uint64 { return c.deleted.Load() }

// DeleteFlows deletes what fits any of flows. Nothing to delete is success,
// so it is idempotent. The result is nil when all succeeded, else it holds an
// error or nil for each flow.
//
// Linux 6.12 and later delete by filter: one request a flow, all in one send,
// and the kernel does the matching. Where it cannot, does it wrongly or is
// slower, the table is dumped and matched here and each entry that fits is
// deleted by its full tuple and id.
func (c *Conntrack) DeleteFlows(flows []Flow) []error {
	errs := make([]error, len(flows))
	var direct, scan []int
	for i, f := range flows {
		switch {
		case f.check() != nil:
			errs[i] = f.check()
		case f.filterable() && c.canFilter(filter{f.family(), f.Unreplied}):
			direct = append(direct, i)
		default:
			scan = append(scan, i)
		}
	}
	if len(direct) >= scanFlows {
		direct, scan = nil, append(scan, direct...)
	}
	c.deleteByFilter(flows, direct, errs)
	c.deleteByScan(flows, scan, errs)
	failed := false
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("delete %s: %w", flows[i], err)
			failed = true
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// deleteByFilter lets the kernel delete the flows with the given indexes.
func (c *Conntrack) deleteByFilter(flows []Flow, which []int, errs []error) {
	var b Batch
	for _, i := range which {
		deleteFilter(&b, flows[i])
	}
	for n, err := range c.conn.Exec(&b) {
		if !errors.Is(err, unix.ENOENT) {
			errs[which[n]] = err
		}
	}
}

func (c *Conntrack) canFilter(f filter) bool {
	if c.filters[f] == unknown {
		c.filters[f] = no
		if probeFilter(f) == nil {
			c.filters[f] = yes
		}
	}
	return c.filters[f] == yes
}

var errFilter = errors.New("the kernel deletes the wrong conntrack entries by filter")

// probeFilter returns nil when the kernel deletes by filter what fits and
// nothing else. It tries it where nothing can be lost: in a new network
// namespace, on entries of its own. Where it may not make a namespace, which
// needs CAP_SYS_ADMIN, the answer is an error.
func probeFilter(f filter) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		result <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("make a network namespace: %w", err)
			}
			c, err := OpenConntrack()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.tryFilter(f)
		}()
	}()
	return <-result
}

// tryFilter creates one entry that fits a filter and one that differs in each
// thing that a filter compares, and looks which of them the filter deletes.
// From 5.8 up to 6.18 at least, the kernel's comparison of IPv6 addresses is
// the wrong way round: it would delete all flows but those meant.
func (c *Conntrack) tryFilter(f filter) error {
	dst, end, other, client := "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
	if f.family == unix.AF_INET6 {
		dst, end, other, client = "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"
	}
	at := func(addr string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	}
	fits := Flow{Proto: unix.IPPROTO_UDP, Dst: at(dst, 53), Endpoint: at(end, 5353), Unreplied: f.unreplied}
	want := []Flow{
		{Proto: fits.Proto, Dst: at(other, 53), Endpoint: fits.Endpoint, Unreplied: f.unreplied},
		{Proto: fits.Proto, Dst: at(dst, 54), Endpoint: fits.Endpoint, Unreplied: f.unreplied},
		{Proto: fits.Proto, Dst: fits.Dst, Endpoint: at(other, 5353), Unreplied: f.unreplied},
		{Proto: fits.Proto, Dst: fits.Dst, Endpoint: at(end, 5354), Unreplied: f.unreplied},
	}
	if f.unreplied {
		want = append(want, Flow{Proto: fits.Proto, Dst: fits.Dst, Endpoint: fits.Endpoint})
	}
	var b Batch
	for i, f := range append(want, fits) {
		createUDP(&b, at(client, uint16(1000+i)), f)
	}
	deleteFilter(&b, fits)
	if err := errors.Join(c.conn.Exec(&b)...); err != nil {
		return fmt.Errorf("the kernel does not delete conntrack entries by filter: %w", err)
	}
	left := map[Flow]bool{}
	err := c.dump(f.family, func(e entry) { left[Flow{e.proto, e.dst, e.end, !e.replied}] = true })
	if err != nil {
		return err
	}
	for _, f := range want {
		if !left[f] {
			return errFilter
		}
	}
	if len(left) != len(want) {
		return errFilter
	}
	return nil
}
