package netutil

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// rulesPause is how long WatchRules lets events gather after it has called changed.
const rulesPause = 100 * time.Millisecond

// WatchRules calls changed when nft or the nft variant of iptables may have changed rules that
// MarkRules sums up: once as soon as it listens, then
//   - when one of our chains, a rule in it or a jump to it comes or goes
//   - when a rule comes into a built-in chain before its end, or a jump to a guest anywhere
//   - when a rule of a built-in chain goes, since newer kernels do not say where it led
//   - when a table mangle, nat or filter of IPv4 or IPv6 goes, or an object of OwnTable changes
//   - when events were lost
//
// Two calls are at least a tenth of a second apart. It ignores the tables and chains of other
// programs. It returns nil when ctx ends, also on a kernel without nftables, and an error if it
// cannot listen.
func WatchRules(ctx context.Context, ours Ours, changed func()) error {
	file, err := subscribeRules()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		<-ctx.Done()
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	defer file.Close()
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	w := &ruleWatcher{ours: ours}
	for some := true; ctx.Err() == nil; {
		if some {
			changed()
			select {
			case <-ctx.Done():
			case <-time.After(rulesPause):
			}
		}
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			var read bool
			read, some, failed = w.drain(int(fd))
			return read || failed != nil
		})
		if err := errors.Join(err, failed); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch nftables: %w", err)
		}
	}
	return nil
}

// subscribeRules opens a socket that gets the events of nftables.
func subscribeRules() (*os.File, error) {
	fd, err := openNetlink(unix.NETLINK_NETFILTER, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

type ruleWatcher struct {
	ours Ours
	buf  [16 << 10]byte // the kernel packs events into messages of half of that
}

// drain reads the queued events. It reports whether there were any, and whether one was of
// interest. Only an empty queue is certain to report the next loss.
func (w *ruleWatcher) drain(fd int) (read, some bool, err error) {
	for {
		n, _, flags, _, err := unix.Recvmsg(fd, w.buf[:], nil, 0)
		switch err {
		case nil:
			read = true
			some = some || flags&unix.MSG_TRUNC != 0 || w.interesting(w.buf[:n])
		case unix.ENOBUFS:
			read, some = true, true
		case unix.EINTR:
		case unix.EAGAIN:
			return read, some, nil
		default:
			return read, some, err
		}
	}
}

// interesting reports whether one of the events in p is of interest.
func (w *ruleWatcher) interesting(p []byte) bool {
	some := false
	err := walk(p, func(h unix.NlMsghdr, data []byte) error {
		some = some || h.Type>>8 == unix.NFNL_SUBSYS_NFTABLES && w.event(h.Type&0xff, h.Flags, data)
		return nil
	})
	return some || err != nil
}

// Of linux/netfilter/nf_tables.h; the same as DELTABLE and so on, but asked for
// by a command that does not fail if there is nothing.
const destroyTable, destroyChain, destroyRule = 26, 27, 28

func (w *ruleWatcher) event(typ, flags uint16, data []byte) bool {
	if len(data) == 0 || data[0] != unix.NFPROTO_IPV4 && data[0] != unix.NFPROTO_IPV6 {
		return false
	}
	// The name of the table is the first attribute of all of these.
	a, _, _ := NextAttr(data[min(4, len(data)):])
	table := cString(a.Data)
	if table == OwnTable || !slices.Contains(ourTables, table) {
		return table == OwnTable
	}
	switch typ {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, destroyTable:
		return true
	case unix.NFT_MSG_NEWCHAIN:
		return w.ours.own(decodeNFTChain(data).Name)
	case unix.NFT_MSG_DELCHAIN, destroyChain:
		name := decodeNFTChain(data).Name
		return w.ours.own(name) || slices.Contains(hookNames[:], name)
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE, destroyRule:
		in, r := decodeNFTRule(data)
		if w.ours.own(in.Name) || w.ours.own(r.to) {
			return true
		}
		if typ == unix.NFT_MSG_NEWRULE { // older kernels do not tell that it was appended
			return (flags&unix.NLM_F_APPEND == 0 || w.ours.guest(r.to)) && slices.Contains(hookNames[:], in.Name)
		}
		return len(r.body) == 0 && slices.Contains(hookNames[:], in.Name)
	}
	return false
}
