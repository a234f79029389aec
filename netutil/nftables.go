package netutil

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nftTable is a message about a table of nftables.
const nftTable = unix.NFNL_SUBSYS_NFTABLES << 8

// HasNFTable reports whether the network namespace has the table called name
// in a family. A kernel without nftables has none.
func HasNFTable(family Family, name string) (bool, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer c.Close()
	var b Batch
	b.Begin(nftTable|unix.NFT_MSG_GETTABLE, 0, family.Inet(), unix.NFNETLINK_V0, 0, 0)
	b.String(unix.NFTA_TABLE_NAME, name)
	err = c.Get(&b, func(uint16, []byte) error { return nil })
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the nftables table %s of %s: %w", name, family, err)
	}
	return true, nil
}

// DeleteNFTable deletes the table called name of a family, with its chains and rules, at once. It
// reports whether there was one.
func DeleteNFTable(family Family, name string) (bool, error) {
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer c.Close()
	t := beginTransaction(family)
	t.request(unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, name))
	err = t.commit(c)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("delete the nftables table %s of %s: %w", name, family, err)
	}
	return true, nil
}

// absent reports whether err says that the kernel has no such table, or no nftables.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// transaction is a list of changes of a family's tables: the kernel makes all or none. nftables
// takes changes in no other way (linux/netfilter/nfnetlink.h).
type transaction struct {
	batch  Batch
	family Family
}

// subsystem is the header of the two messages between which a transaction stands.
var subsystem = []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}

func beginTransaction(family Family) *transaction {
	t := &transaction{family: family}
	t.batch.Begin(unix.NFNL_MSG_BATCH_BEGIN, 0, subsystem...)
	return t
}

// request adds a change, of which attrs are encoded.
func (t *transaction) request(typ uint16, flags int, attrs ...[]byte) {
	t.batch.Begin(nftTable|typ, flags, t.family.Inet(), unix.NFNETLINK_V0, 0, 0)
	for _, a := range attrs {
		t.batch.buf = append(t.batch.buf, a...)
	}
	t.batch.size()
}

// commit ends the transaction, sends it and returns its first error. Older kernels do
// not answer the message that ends one, so that the answer to the last request is waited
// for.
func (t *transaction) commit(c *Conn) error {
	b, ack := &t.batch, t.batch.Len()-1
	b.Begin(unix.NFNL_MSG_BATCH_END, 0, subsystem...)
	base := c.seq + 1
	c.seq += uint32(b.Len())
	for i := range b.Len() {
		var flags uint16
		if i == ack {
			flags = unix.NLM_F_ACK
		}
		b.stamp(i, flags, base+uint32(i), c.pid)
	}
	if len(b.buf) > 1<<20 { // one message of the socket, which refuses what is longer than its buffer
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b.buf))
	}
	if err := c.send(b.buf, b.Len()); err != nil {
		return err
	}
	var failed error
	for done := false; !done; {
		err := c.receive(func(h unix.NlMsghdr, data []byte) error {
			if i := h.Seq - base; h.Type != unix.NLMSG_ERROR || i >= uint32(b.Len()) {
				return nil
			}
			failed = errors.Join(failed, errno(data))
			done = done || failed != nil || h.Seq == base+uint32(ack)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnknownFate, err)
		}
	}
	return failed
}
