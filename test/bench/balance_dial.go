package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	balancePort    = 9090              // of all endpoints, which are addresses of r1
	balanceSources = "10.244.0.128/26" // more addresses of c1: each connection has one that IPVS and conntrack do not know
	firstSource    = 1024
)

func (of backend) address() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 2, of.last}), 80)
}

// endpoint returns the address of an endpoint by its number.
func (of backend) endpoint(i int) string { return poolAddr(int(of.last)*100 + i) }

func numbers(from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = from + i
	}
	return out
}

// dialer opens connections from c1 to Services, and accepts them at their endpoints: one
// thread does both, so that no other waits for the CPU.
type dialer struct {
	lab      *lab
	listener int
	source   netip.AddrPort // of the last connection
}

func newDialer(ctx context.Context, l *lab) (*dialer, error) {
	d := &dialer{lab: l, source: netip.AddrPortFrom(netip.MustParsePrefix(balanceSources).Addr(), firstSource)}
	if _, err := l.C1.Shell(ctx, "ip route add local "+balanceSources+" dev lo"); err != nil {
		return nil, err
	}
	if _, err := l.Node2.Shell(ctx, "ip route add "+balanceSources+" via "+l.Node.IPv4.String()); err != nil {
		return nil, err
	}
	return d, l.R1.Do(func() (err error) {
		if d.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		return errors.Join(unix.Bind(d.listener, &unix.SockaddrInet4{Port: balancePort}), unix.Listen(d.listener, 1024))
	})
}

func (d *dialer) close() { _ = unix.Close(d.listener) }

// route lets a new node reach c1 at its further addresses. Conntrack may forget closed
// connections: no other one has their ports.
func (d *dialer) route(ctx context.Context) error {
	_, err := d.lab.Node.Shell(ctx, "ip route add "+balanceSources+" dev vc1; sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=5")
	return err
}

// held is an open connection.
type held struct {
	client, server int    // file descriptors
	endpoint       string // that has accepted it
}

// close closes it in an orderly way, the client first.
func (h held) close() {
	_ = unix.Close(h.client)
	_ = unix.Close(h.server)
}

var errUnanswered = errors.New("the Service does not answer")

// open opens a connection, from a port that none had before.
func (d *dialer) open(to netip.AddrPort) (h held, err error) {
	err = d.lab.C1.Do(func() error {
		h, err = d.openHere(to)
		return err
	})
	return h, err
}

// openHere is open, on a thread in c1's namespace.
func (d *dialer) openHere(to netip.AddrPort) (h held, err error) {
	if h.client, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return h, err
	}
	d.advance()
	if err = unix.Bind(h.client, &unix.SockaddrInet4{Port: int(d.source.Port()), Addr: d.source.Addr().As4()}); err == nil {
		if out := connect(h.client, to, calm); out == lost || out == refused {
			err = fmt.Errorf("%w: %s: %s", errUnanswered, to, out)
		} else if out != answered {
			err = fmt.Errorf("%s: %s", to, out)
		}
	}
	if err == nil {
		err = d.accept(&h)
	}
	if err != nil {
		_ = unix.Close(h.client)
	}
	return h, err
}

// advance chooses the next source.
func (d *dialer) advance() {
	addr, port := d.source.Addr(), d.source.Port()+1
	if port == 0 {
		addr, port = addr.Next(), firstSource
		if all := netip.MustParsePrefix(balanceSources); !all.Contains(addr) {
			addr = all.Addr()
		}
	}
	d.source = netip.AddrPortFrom(addr, port)
}

// accept accepts the connection from the last source. Others are of clients that have given
// up.
func (d *dialer) accept(h *held) error {
	for deadline := time.Now().Add(calm); time.Now().Before(deadline); {
		fd, peer, err := unix.Accept4(d.listener, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			wait(d.listener, unix.POLLIN, time.Until(deadline))
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return err
		}
		from, ok := peer.(*unix.SockaddrInet4)
		if !ok || netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port)) != d.source {
			_ = unix.Close(fd)
			continue
		}
		at, err := unix.Getsockname(fd)
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		h.server, h.endpoint = fd, netip.AddrFrom4(at.(*unix.SockaddrInet4).Addr).String()
		return nil
	}
	return errUnanswered
}
