package netutil

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls changed when links or addresses of this network namespace may
// have changed: once as soon as it listens, then once for each burst of events,
// whatever they are about, but for those of the link called except: who fills
// a device with addresses need not be told of each. Events that were lost
// count as one. It returns nil when ctx ends and an error when it cannot
// listen; nothing is left behind.
func Watch(ctx context.Context, except string, changed func()) error {
	for ctx.Err() == nil {
		err := watch(ctx, except, changed)
		// The socket's queue was full. A new one is certain to be in order.
		if err != nil && !errors.Is(err, unix.ENOBUFS) && ctx.Err() == nil {
			return fmt.Errorf("watch links and addresses: %w", err)
		}
	}
	return nil
}

// watch listens with one socket until ctx or the socket ends.
func watch(ctx context.Context, except string, changed func()) error {
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
	w := &watcher{except: except}
	if link, err := net.InterfaceByName(except); err == nil { // after subscribing: nothing is missed
		w.index = uint32(link.Index)
	}
	changed()
	for {
		var failed error
		some := false
		err := raw.Read(func(fd uintptr) bool {
			var read bool
			read, some, failed = w.drain(int(fd))
			return read || failed != nil
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if some {
			changed()
		}
	}
}

// watcher knows which link's events are of no interest.
type watcher struct {
	except string
	index  uint32 // of the link called except, 0 while there is none
	buf    [4096]byte
}

// subscribe opens a socket that gets the events of links and addresses.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	const groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// drain reads what is queued. It reports whether that was anything, and
// whether it was of interest.
func (w *watcher) drain(fd int) (read, some bool, err error) {
	for {
		n, _, err := unix.Recvfrom(fd, w.buf[:], 0) // a longer message is cut: its start tells enough
		switch err {
		case nil:
			read = true
			some = w.interesting(w.buf[:n]) || some
		case unix.EINTR:
		case unix.EAGAIN:
			return read, some, nil
		default:
			return read, some, err
		}
	}
}

// interesting reports whether the event is not just about the excepted link,
// and takes from it what that link's index is.
func (w *watcher) interesting(p []byte) bool {
	const index = unix.SizeofNlMsghdr + 4 // ifi_index and ifa_index stand at the same place
	if w.except == "" || len(p) < index+4 {
		return true
	}
	at := binary.NativeEndian.Uint32(p[index:])
	switch binary.NativeEndian.Uint16(p[4:]) {
	case unix.RTM_NEWLINK:
		if len(p) >= unix.SizeofNlMsghdr+unix.SizeofIfInfomsg && linkName(p[unix.SizeofNlMsghdr+unix.SizeofIfInfomsg:]) == w.except {
			w.index = at
		}
	case unix.RTM_DELLINK:
		if at == w.index {
			w.index = 0
		}
		return true
	}
	return at != w.index || w.index == 0
}

// linkName returns the name among the attributes of a link.
func linkName(p []byte) string {
	for {
		a, rest, ok := NextAttr(p)
		if !ok {
			return ""
		}
		if a.Type == unix.IFLA_IFNAME {
			return string(bytes.TrimRight(a.Data, "\x00"))
		}
		p = rest
	}
}
