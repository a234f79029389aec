package testbed

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Go has no SCTP. A one-to-one style socket behaves as a TCP socket does, and
// the net package takes a ready one for such.

// ServeSCTP answers on an SCTP port as Serve does on TCP.
func (b *Bed) ServeSCTP(h *Host, port uint16, name string) error {
	var l net.Listener
	err := h.Do(func() error {
		fd, err := sctpSocket(netip.IPv6Unspecified(), 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "sctp")
		defer f.Close() // FileListener has its own
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(netip.IPv6Unspecified(), port))); err != nil {
			return err
		}
		if err := unix.Listen(fd, 128); err != nil {
			return err
		}
		l, err = net.FileListener(f)
		return err
	})
	if err != nil {
		return err
	}
	b.listeners = append(b.listeners, func() { _ = l.Close() })
	go serveTCP(l, name)
	return nil
}

// dialSCTP connects from the caller's namespace.
func dialSCTP(_ context.Context, to netip.AddrPort, from From) (net.Conn, error) {
	fd, err := sctpSocket(to.Addr(), from.patience())
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "sctp")
	defer f.Close() // FileConn has its own
	if from.Addr.IsValid() || from.Port != 0 {
		if err := unix.Bind(fd, sockaddr(from.local(to))); err != nil {
			return nil, err
		}
	}
	switch err := unix.Connect(fd, sockaddr(to)); {
	case errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ETIMEDOUT):
		return nil, os.ErrDeadlineExceeded
	case err != nil:
		return nil, err
	}
	return net.FileConn(f)
}

func sctpSocket(family netip.Addr, patience time.Duration) (int, error) {
	domain := unix.AF_INET6
	if family.Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return -1, err
	}
	if patience != 0 {
		limit := unix.NsecToTimeval(int64(patience))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
