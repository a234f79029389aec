package netutil

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Changes are the changes since the last call of Watch's function.
type Changes struct {
	// Facts: a link, an address of another link than the device, a default route,
	// or half of one, or a rule of policy routing has changed.
	Facts bool
	// Device: the device was deleted or renamed, or it or lo was set up or down.
	Device bool
	// Lost are, 64 at most: destinations of our local routes that were deleted, and
	// of local routes that another has taken the place of; addresses that were taken
	// off the device; and global addresses that were taken off another link, with
	// which the kernel silently deletes the IPv4 routes that have them as source.
	Lost []netip.Prefix
	// More: there were more of Lost, or events were dropped.
	More bool
}

// mostLost bounds Changes.Lost.
const mostLost = 64

// Watch calls changed after changes of links, addresses, routes and rules of this network
// namespace: once with Facts alone as soon as it listens, then once for each burst of events.
// device is the link with the ClusterIPs; Watch ignores additions to it. It also ignores routes
// that a Conn of this process writes, and IPv4 addresses that one deletes from device; for IPv6
// addresses the kernel does not say which socket deleted them. Routes of other programs cost
// next to nothing. It returns nil when ctx ends and an error if it cannot listen; it leaves
// nothing behind.
func Watch(ctx context.Context, device string, changed func(Changes)) error {
	first := Changes{Facts: true}
	for ctx.Err() == nil {
		err := watch(ctx, device, first, changed)
		// The socket's queue was full. A new one is certain to be in order.
		if err != nil && !errors.Is(err, unix.ENOBUFS) && ctx.Err() == nil {
			return fmt.Errorf("watch links, addresses and routes: %w", err)
		}
		first.More = true
	}
	return nil
}

// watch listens with one socket until ctx or the socket ends.
func watch(ctx context.Context, device string, first Changes, changed func(Changes)) error {
	file, err := subscribe()
	if err != nil {
		return err
	}
	defer file.Close()
	// A deadline in the past wakes the read, and unlike Close it cannot be
	// too early.
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	w, err := newWatcher(device) // after subscribing: nothing is missed
	if err != nil {
		return err
	}
	changed(first)
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			var read bool
			if read, failed = w.drain(int(fd)); failed == nil {
				failed = w.filter(int(fd))
			}
			return read || failed != nil
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if found := w.take(); found.some() {
			changed(found)
		}
	}
}

// some reports whether anything was heard of.
func (c Changes) some() bool { return c.Facts || c.Device || c.More || len(c.Lost) > 0 }

// groups are what is listened to. RTNLGRP_ numbers them from 1.
const groups = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
	1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)

// subscribe opens a socket that gets the events.
func subscribe() (*os.File, error) {
	fd, err := openNetlink(unix.NETLINK_ROUTE, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// As in Conn.setup. Thousands of our own deletions are to fit.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 2<<20)
	if err := attachFilter(fd, 0); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// filter makes the kernel drop events of additions to the device, which may be a new one.
func (w *watcher) filter(fd int) error {
	if w.index == w.filtered {
		return nil
	}
	w.filtered = w.index
	return attachFilter(fd, w.index)
}

// burst is the number of events after which changed is called though more come.
const burst = 10000

// drain reads the queued events. It reports whether there were any.
func (w *watcher) drain(fd int) (read bool, err error) {
	for range burst {
		n, _, err := unix.Recvfrom(fd, w.buf[:], 0) // a longer message is cut: its start tells enough
		switch err {
		case nil:
			read = true
			w.event(w.buf[:n])
		case unix.EINTR:
		case unix.EAGAIN:
			return read, nil
		default:
			return read, err
		}
	}
	return true, nil
}
