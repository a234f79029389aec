package netutil

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil/ipfamily"
)

// Flow is a conntrack entry.
type Flow struct {
	Proto    uint8          // IP protocol number
	Dst      netip.AddrPort // where the first packet was sent
	Endpoint netip.AddrPort // where replies come from, which differs from Dst after DNAT

	Unreplied bool // no reply has come yet
}

// Dialled is the destination of flows. An unspecified address stands for all of its family.
type Dialled struct {
	Proto uint8 // IP protocol number
	To    netip.AddrPort
}

// Conntrack deletes connection tracking entries of the network namespace that
// it was opened in. Only one goroutine may use it at a time.
type Conntrack struct {
	dumps, deletes *Conn // two, since a deletion does not wait for the end of a dump
}

// fewFilters is the most filters that are cheaper than one dump of the whole table: each filter
// is a walk over the table in the kernel, and the dump costs about five of these.
const fewFilters = 4

// deletedAtOnce is the number of found entries after which they are deleted, so that memory
// does not grow with their total.
const deletedAtOnce = 256

// OpenConntrack opens the sockets. It succeeds on a kernel without conntrack, on which the
// methods fail.
func OpenConntrack() (*Conntrack, error) {
	dumps, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	deletes, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, errors.Join(err, dumps.Close())
	}
	return &Conntrack{dumps, deletes}, nil
}

// HasConntrack reports whether programs can read conntrack. It makes the kernel load the module.
func HasConntrack() (bool, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer c.Close()
	var b Batch
	ctnetlink(&b, ctStats, 0, unix.AF_UNSPEC)
	err = c.Get(&b, func(uint16, []byte) error { return nil })
	if errors.Is(err, unix.EINVAL) { // nfnetlink knows no subsystem to hand the request to
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for conntrack: %w", err)
	}
	return true, nil
}

// Close closes the sockets.
func (c *Conntrack) Close() error { return errors.Join(c.dumps.Close(), c.deletes.Close()) }

// Stats returns the counts of the sockets. Safe from any goroutine.
func (c *Conntrack) Stats() Stats {
	a, b := c.dumps.Stats(), c.deletes.Stats()
	return Stats{a.Sends + b.Sends, a.Messages + b.Messages, a.Dumps + b.Dumps, a.Errors + b.Errors, a.Bytes + b.Bytes}
}

// Delete deletes the flows of a family for which doomed is true, and
// returns their number. It may skip flows that fit none of to; if to is empty it looks at all.
// It calls doomed when it finds a flow, and again right before the deletion. Idempotent. After
// an error some flows may be left; it stops soon after ctx ends.
//
// An entry is deleted by its whole tuple and its id, which are those that were
// found: never a newer one of the same tuple. The kernel could delete by filter
// too, from 6.12 on, but up to 6.18 at least it takes all IPv6 flows but those
// meant, and to find that out needs a network namespace to try it in, and
// CAP_SYS_ADMIN to make one. To list by filter, from 5.8 on, takes the same one walk
// inside the kernel and no more than CAP_NET_ADMIN, and a kernel that filters too
// little does no harm, for what is listed is compared here.
func (c *Conntrack) Delete(ctx context.Context, family Family, to []Dialled, doomed func(Flow) bool) (int, error) {
	d := deletion{conn: c.deletes, family: family, doomed: doomed}
	var errs []error
	for _, f := range filtersOf(family, to) {
		unfiltered := false
		errs = append(errs, c.list(ctx, family, f, func(e entry) {
			unfiltered = unfiltered || f.Proto != 0 && e.Proto != f.Proto
			d.found(e)
		}))
		if unfiltered { // then the kernel knows no filters, and has listed everything
			break
		}
	}
	d.flush()
	return d.deleted, errors.Join(append(errs, d.err)...)
}

// EachUnreplied calls note with each TCP entry of a family to which no reply has come: its
// endpoint, and the number by which the kernel names the entry. It stops soon after ctx ends.
func (c *Conntrack) EachUnreplied(ctx context.Context, family Family, note func(endpoint netip.AddrPort, id uint32)) error {
	f := filter{Dialled{Proto: unix.IPPROTO_TCP}, true}
	return c.list(ctx, family, f, func(e entry) {
		if e.Proto == unix.IPPROTO_TCP && e.Unreplied && len(e.id) == 4 {
			note(e.Endpoint, binary.BigEndian.Uint32(e.id))
		}
	})
}

// Origin returns the address that the client of a flow dialled before NAT translated it to at,
// in the network namespace of c. ENOENT: conntrack has no such flow.
func (c *Conntrack) Origin(proto uint8, client, at netip.AddrPort) (netip.AddrPort, error) {
	var b Batch
	ctnetlink(&b, ctGet, 0, ipfamily.Of(at.Addr()).Inet())
	tuple{proto: proto, src: at, dst: client}.add(&b, ctaTupleReply)
	var found entry
	err := c.dumps.Get(&b, func(_ uint16, data []byte) error {
		found, _ = parseEntry(data)
		return nil
	})
	if err == nil && !found.Dst.IsValid() {
		err = unix.ENOENT
	}
	return found.Dst, err
}

// deletion collects the entries to delete.
type deletion struct {
	conn    *Conn
	family  Family
	doomed  func(Flow) bool
	waiting []entry
	batch   Batch
	deleted int
	err     error
}

// found adds an entry of a dump.
func (d *deletion) found(e entry) {
	if !d.doomed(e.Flow) {
		return
	}
	if d.waiting = append(d.waiting, e.clone()); len(d.waiting) == deletedAtOnce {
		d.flush()
	}
}

// flush deletes the collected entries.
func (d *deletion) flush() {
	d.batch.Reset()
	for _, e := range d.waiting {
		if d.doomed(e.Flow) {
			e.addDelete(&d.batch, d.family)
		}
	}
	d.waiting = d.waiting[:0]
	if d.batch.Len() == 0 {
		return
	}
	fates := d.conn.Exec(&d.batch)
	d.deleted += d.batch.Len()
	for _, err := range fates {
		if err != nil {
			d.deleted--
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // else it has ended meanwhile
			d.err = err
		}
	}
}

// list calls each with every entry of a family that fits a filter.
func (c *Conntrack) list(ctx context.Context, family Family, f filter, each func(entry)) error {
	var b Batch
	ctnetlink(&b, ctGet, 0, family.Inet())
	f.add(&b)
	n := 0
	return c.dumps.Dump(&b, func(_ uint16, data []byte) error {
		const often = 128
		if n++; n%often == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if e, ok := parseEntry(data); ok {
			each(e)
		}
		return nil
	})
}
