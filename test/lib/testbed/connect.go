package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// connect opens a connection, or a UDP socket that is bound to one peer. Go has
// no SCTP, and no way to read why a connection failed, so that the socket is
// made here; the net package takes it once it is connected. One-to-one style
// SCTP sockets behave as TCP's do.
func (h *Host) connect(ctx context.Context, network string, to netip.AddrPort, from From) (net.Conn, error) {
	var f *os.File
	err := h.Do(func() error { // a socket belongs to the namespace in which it is made
		var err error
		f, err = begin(network, to, from)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer f.Close() // FileConn has its own
	if err := finish(ctx, f, from.patience()); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if tcp, ok := c.(*net.TCPConn); ok { // else it would not be silent for longer than 15 seconds
		err = tcp.SetKeepAlive(false)
	}
	return c, err
}

// begin makes a socket and starts to connect it.
func begin(network string, to netip.AddrPort, from From) (*os.File, error) {
	fd, err := newSocket(network, to.Addr())
	if err != nil {
		return nil, err
	}
	if err := start(fd, network, to, from); err != nil {
		return nil, errors.Join(explain(fd, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), network), nil
}

func start(fd int, network string, to netip.AddrPort, from From) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := bind(fd, network, to, from); err != nil {
		return err
	}
	if from.Why && network != "sctp" {
		if err := keepICMP(fd, to.Addr()); err != nil {
			return err
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return nil
}

// bind gives a socket the address and port that it sends from.
func bind(fd int, network string, to netip.AddrPort, from From) error {
	if network == "udp" && from.Port == 0 {
		return bindUnused(fd, to, from)
	}
	if !from.Addr.IsValid() && from.Port == 0 {
		return nil
	}
	if err := unix.Bind(fd, sockaddr(from.local(to))); err != nil {
		return fmt.Errorf("bind to %s: %w", from.local(to), err)
	}
	return nil
}

// The ports that Linux takes itself for clients that name none.
const firstClientPort, clientPorts = 32768, 28232

// udpClients counts the UDP clients of this process that named no port.
var udpClients atomic.Uint32

// bindUnused binds a UDP socket to a port that no client of this process had before.
// IPVS takes a datagram from a port that was used in the last five minutes for the
// earlier flow, even if the test has changed the endpoints since: one in some
// thousands of the kernel's random ports was, and TestAffinity on 5.4 had the endpoint
// of the flow before, or none.
func bindUnused(fd int, to netip.AddrPort, from From) error {
	for {
		from.Port = uint16(firstClientPort + (udpClients.Add(1)-1)%clientPorts)
		err := unix.Bind(fd, sockaddr(from.local(to)))
		if err == nil || !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
}

// finish waits until a socket is connected.
func finish(ctx context.Context, f *os.File, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := f.SetDeadline(deadline); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		if _, err := unix.Getpeername(int(fd)); err == nil {
			return true
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			failed = err
		case code != 0:
			failed = explain(int(fd), unix.Errno(code))
		default:
			return false // not yet
		}
		return true
	})
	return errors.Join(err, failed)
}

func newSocket(network string, family netip.Addr) (int, error) {
	domain := unix.AF_INET6
	if family.Is4() {
		domain = unix.AF_INET
	}
	kind, protocol := unix.SOCK_STREAM, 0
	switch network {
	case "udp":
		kind = unix.SOCK_DGRAM
	case "sctp":
		protocol = unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
