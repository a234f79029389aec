package testbed

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Answer is a listener's answer: its name, and the source of the request.
type Answer struct {
	Name string
	Peer netip.AddrPort
}

func (a Answer) String() string { return a.Name + " saw " + a.Peer.Addr().String() }

func parse(line string) (Answer, error) {
	line = strings.TrimSpace(line)
	space := strings.LastIndexByte(line, ' ')
	if space < 0 {
		return Answer{}, fmt.Errorf("strange answer %q", line)
	}
	at, err := netip.ParseAddrPort(line[space+1:])
	return Answer{line[:space], netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, err
}

func greeting(name string, peer net.Addr) string { return fmt.Sprintf("%s %s\n", name, peer) }

// Serve answers on a port of the host, both families, TCP and UDP, until the bed or
// the returned function closes it: with its name and the peer's address, then, on TCP,
// with an echo of all data until the client takes leave.
func (b *Bed) Serve(h *Host, port uint16, name string) (stop func(), err error) {
	return b.ServeAt(h, fmt.Sprintf(":%d", port), name)
}

// ServeAt is Serve on one address: UDP answers come from there, even if the host has
// other addresses.
func (b *Bed) ServeAt(h *Host, at, name string) (stop func(), err error) {
	var l net.Listener
	var p net.PacketConn
	err = h.Do(func() error {
		var err error
		// A listener that asks idle clients by itself would speak first behind a new node.
		if l, err = (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", at); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp", at)
		return err
	})
	if err != nil {
		return nil, err
	}
	go serveTCP(l, name)
	go serveUDP(p, name)
	stop = func() { _ = l.Close(); _ = p.Close() }
	b.listeners = append(b.listeners, stop)
	return stop, nil
}

func serveTCP(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := c.Write([]byte(greeting(name, c.RemoteAddr()))); err != nil {
				return
			}
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				if err != nil || string(buf[:n]) == leave {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func serveUDP(p net.PacketConn, name string) {
	buf := make([]byte, 65536)
	for {
		_, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = p.WriteTo([]byte(greeting(name, from)), from)
	}
}

// From says from which address and port a client sends, and how long it waits
// for an answer; the zero value leaves the first two to the kernel and waits
// for Timeout. A client that is to tell why it is refused takes any ICMP error
// for the end of a request over TCP or UDP, and returns it as an ICMPError.
type From struct {
	Addr     netip.Addr
	Port     uint16
	Patience time.Duration
	Why      bool
}

func (f From) patience() time.Duration { return Limit(cmp.Or(f.Patience, Timeout)) }

// local returns the address to bind to.
func (f From) local(to netip.AddrPort) netip.AddrPort {
	addr := f.Addr
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
		if to.Addr().Is4() {
			addr = netip.IPv4Unspecified()
		}
	}
	return netip.AddrPortFrom(addr, f.Port)
}

// Timeout is how long a client waits for an answer before it takes it for lost.
const Timeout = 2 * time.Second

// Session is a connection, or a UDP socket that sends to one address.
type Session struct {
	conn     net.Conn
	r        *bufio.Reader
	udp      bool
	patience time.Duration
	// First is the listener's first answer; UDP sessions have none yet.
	First Answer
}

// Dial opens a session from h. TCP and SCTP wait for the listener's name.
func (h *Host) Dial(ctx context.Context, network string, to netip.AddrPort, from From) (*Session, error) {
	s := &Session{udp: network == "udp", patience: from.patience()}
	var err error
	if s.conn, err = h.connect(ctx, network, to, from); err != nil {
		return nil, err
	}
	s.r = bufio.NewReader(s.conn)
	if s.udp {
		return s, nil
	}
	if s.First, err = s.answer(); err != nil {
		err = explainConn(s.conn, err)
		s.Close()
		return nil, err
	}
	return s, nil
}

// Port returns the client's own port.
func (s *Session) Port() string {
	_, port, _ := net.SplitHostPort(s.conn.LocalAddr().String())
	return port
}

// DialContext is net.Dialer's, from the host.
func (h *Host) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (s *Session) answer() (Answer, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(s.patience))
	line, err := s.r.ReadString('\n')
	if err != nil {
		return Answer{}, err
	}
	return parse(line)
}

// Ask sends one request. TCP checks that the connection still echoes and returns
// First; UDP returns the endpoint that answered this datagram.
func (s *Session) Ask() (Answer, error) {
	if _, err := s.conn.Write([]byte("ping\n")); err != nil {
		return Answer{}, explainConn(s.conn, err)
	}
	if s.udp {
		a, err := s.answer()
		return a, explainConn(s.conn, err)
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(s.patience))
	line, err := s.r.ReadString('\n')
	if err == nil && line != "ping\n" {
		err = fmt.Errorf("strange echo %q", line)
	}
	return s.First, err
}

// leave has a listener end a TCP connection.
const leave = "leave\n"

// Leave has the listener end the session, waits for that, and closes it. TCP only.
func (s *Session) Leave() error {
	defer s.Close()
	if _, err := s.conn.Write([]byte(leave)); err != nil {
		return err
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(s.patience))
	if line, err := s.r.ReadString('\n'); !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %q, %w; want the end", line, err)
	}
	return nil
}

// Close ends the session.
func (s *Session) Close() { _ = s.conn.Close() }

// Ask opens a session from h, asks once and closes it.
func (h *Host) Ask(ctx context.Context, network string, to netip.AddrPort, from From) (Answer, error) {
	s, err := h.Dial(ctx, network, to, from)
	if err != nil {
		return Answer{}, err
	}
	defer s.Close()
	return s.Ask()
}

// Outcome is the outcome of a request, in one word for comparison: the endpoint that
// answered, "refused", "reset", "forbidden" (a local filter ate it), "lost", the ICMP
// error for a client that has asked for it, or the error.
func Outcome(a Answer, err error) string {
	var timeout net.Error
	var icmp *ICMPError
	switch {
	case err == nil:
		return a.Name
	case errors.As(err, &icmp):
		return icmp.Name()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EPERM):
		return "forbidden"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "lost"
	}
	return err.Error()
}
