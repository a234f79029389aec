package relay

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// serveTCP accepts connections until the listener fails.
func (r *Relay) serveTCP(ctx context.Context, l *Listener) error {
	for {
		c, err := l.tcp.AcceptTCP()
		if err != nil {
			return err
		}
		r.accept(ctx, c, l.at)
	}
}

// accept takes a client's connection. A connection that cannot be served gets a reset.
func (r *Relay) accept(ctx context.Context, c *net.TCPConn, at netip.AddrPort) {
	to, err := r.origin(unix.IPPROTO_TCP, plain(c.RemoteAddr().(*net.TCPAddr).AddrPort()), at)
	switch {
	case err != nil:
		r.metrics.failed("unknown")
		reset(c)
	case !r.places.take(to.Port()):
		r.metrics.failed("limit")
		reset(c)
	default:
		r.running.Go(func() {
			defer r.places.leave(to.Port())
			defer r.metrics.began("tcp")()
			r.connect(ctx, c, to)
		})
	}
}

// connect dials for a client, and returns when the connection has ended.
func (r *Relay) connect(ctx context.Context, client *net.TCPConn, to netip.AddrPort) {
	source := r.source(to.Addr())
	if !source.IsValid() {
		r.metrics.failed("source")
		reset(client)
		return
	}
	d := net.Dialer{Timeout: dialWithin, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), Control: bindLate}
	c, err := d.DialContext(ctx, network("tcp", to.Addr()), to.String())
	if err != nil {
		r.metrics.failed("dial")
		reset(client)
		return
	}
	server := c.(*net.TCPConn)
	defer context.AfterFunc(ctx, func() { reset(client); reset(server) })()
	join(client, server)
}

// bindLate leaves the choice of the local port to connect, which may take a port that is in use to
// another address.
func bindLate(_, _ string, c syscall.RawConn) error {
	return setOption(c, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT)
}

// join copies between two connections until both sides have ended or one has failed. It passes on the
// end of one side as an end, and a failure as a reset. The data stay in the kernel (splice).
func join(a, b *net.TCPConn) {
	var both sync.WaitGroup
	var ended atomic.Int32
	pipe := func(to, from *net.TCPConn) {
		_, err := io.Copy(to, from)
		last := err == nil && ended.Add(1) == 2
		if err == nil {
			err = to.CloseWrite()
		}
		switch {
		case err != nil, !last && vanished(from) && ended.Load() < 2:
			reset(a)
			reset(b)
		case last:
			_ = a.Close()
			_ = b.Close()
		}
	}
	both.Go(func() { pipe(a, b) })
	pipe(b, a)
	both.Wait()
}

// vanished waits for the end of a connection whose other side has ended, and reports whether the kernel
// has ended it. The kernel does so if the client has gone, which a silent server would never learn.
func vanished(c *net.TCPConn) (by bool) {
	const tcpClose = 7 // TCP_CLOSE of net/tcp_states.h
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		by = err == nil && info.State == tcpClose
		return by
	})
	return by
}

// reset ends a connection with a reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// plain returns an IPv4-mapped IPv6 address as IPv4, and other addresses unchanged.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
