package relay

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// largest is the size of the largest datagram.
const largest = 1 << 16

var buffers = sync.Pool{New: func() any { return new([largest]byte) }}

// udp relays the datagrams to one address.
type udp struct {
	relay *Relay
	at    netip.AddrPort
	down  *net.UDPConn // the socket of the address

	mu    sync.Mutex
	flows map[netip.AddrPort]*flow // by client
	order list.List                // of *flow; the client of the last one has sent last
}

// flow is a client that talks to a node port.
type flow struct {
	client, to netip.AddrPort
	up         *net.UDPConn // to the node port
	raw        syscall.RawConn
	ended      func() // notes its end

	// Under udp.mu.
	place *list.Element
	heard time.Time // when the client last sent a datagram
	last  time.Time // when the client or the endpoint last sent one
}

// serve relays datagrams until the socket fails.
func (u *udp) serve() error {
	var buffer [largest]byte
	for {
		n, client, err := u.down.ReadFromUDPAddrPort(buffer[:])
		if err != nil {
			return err
		}
		if f := u.flowOf(plain(client)); f != nil {
			f.send(buffer[:n])
		}
	}
}

// close ends all flows, after serve has ended.
func (u *udp) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.flows {
		u.drop(f)
	}
}

// flowOf returns the flow of a client's datagram, or nil if there cannot be one.
func (u *udp) flowOf(client netip.AddrPort) *flow {
	f, certain := u.known(client)
	if certain && u.note(f) {
		return f
	}
	to, err := u.relay.origin(unix.IPPROTO_UDP, client, u.at)
	if err != nil {
		u.relay.metrics.failed("unknown")
		return nil
	}
	switch {
	case f == nil:
	case f.to == to && u.note(f):
		return f
	default: // the client talks to another node port now
		u.end(f)
	}
	return u.begin(client, to)
}

// known returns a client's flow, if any, and whether the client certainly means it. While conntrack has an
// entry, a client has a different port towards the relay for each node port, and an entry lives for
// udpSure at least.
func (u *udp) known(client netip.AddrPort) (f *flow, certain bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f = u.flows[client]
	return f, f != nil && time.Since(f.heard) < u.relay.sure
}

// note notes a datagram of the flow's client. It returns false if the flow has ended meanwhile.
func (u *udp) note(f *flow) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f.place == nil {
		return false
	}
	f.heard = time.Now()
	f.last = f.heard
	u.order.MoveToBack(f.place)
	return true
}

// begin makes a flow. If there are too many, it ends the one whose client has been silent the longest.
func (u *udp) begin(client, to netip.AddrPort) *flow {
	source := u.relay.source(to.Addr())
	if !source.IsValid() {
		u.relay.metrics.failed("source")
		return nil
	}
	for !u.relay.places.take(to.Port()) {
		if !u.evict(to.Port()) {
			u.relay.metrics.failed("limit")
			return nil
		}
	}
	up, err := net.DialUDP(network("udp", to.Addr()), net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), net.UDPAddrFromAddrPort(to))
	var raw syscall.RawConn
	if err == nil {
		raw, err = up.SyscallConn()
	}
	if err != nil {
		u.relay.places.leave(to.Port())
		u.relay.metrics.failed("dial")
		return nil
	}
	now := time.Now()
	f := &flow{client: client, to: to, up: up, raw: raw, ended: u.relay.metrics.began("udp"), heard: now, last: now}
	u.mu.Lock()
	u.flows[client], f.place = f, u.order.PushBack(f)
	u.mu.Unlock()
	u.relay.running.Go(func() { u.answers(f) })
	return f
}

// evict ends a flow: of the node port, if that has too many, or else of any.
func (u *udp) evict(port uint16) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	full := u.relay.places.full(port)
	for e := u.order.Front(); e != nil; e = e.Next() {
		if f := e.Value.(*flow); !full || f.to.Port() == port {
			u.drop(f)
			return true
		}
	}
	return false
}

// end ends a flow, if it has not ended.
func (u *udp) end(f *flow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop(f)
}

// drop is end, under u.mu.
func (u *udp) drop(f *flow) {
	if f.place == nil {
		return
	}
	u.order.Remove(f.place)
	f.place = nil
	delete(u.flows, f.client)
	_ = f.up.Close()
	u.relay.places.leave(f.to.Port())
	f.ended()
}

// send sends a client's datagram on. If the socket has no room, the datagram is lost, since a wait would
// delay all clients.
func (f *flow) send(datagram []byte) {
	_ = f.raw.Write(func(fd uintptr) bool {
		_, _ = unix.Write(int(fd), datagram)
		return true
	})
}

// answers sends the answers to the client, until the flow has ended or was idle for udpIdle.
func (u *udp) answers(f *flow) {
	defer u.end(f)
	for {
		until := u.until(f)
		if !time.Now().Before(until) {
			return
		}
		_ = f.up.SetReadDeadline(until)
		if err := f.raw.Read(func(fd uintptr) bool { return u.answer(f, int(fd)) }); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// answer sends one datagram back. It returns false if there was none. A refusal by the endpoint counts as
// an answer, but the client cannot learn it.
func (u *udp) answer(f *flow, fd int) bool {
	b := buffers.Get().(*[largest]byte)
	defer buffers.Put(b)
	n, err := unix.Read(fd, b[:])
	if err == nil {
		u.mu.Lock()
		f.last = time.Now()
		u.mu.Unlock()
		_, _ = u.down.WriteToUDPAddrPort(b[:n], f.client)
	}
	return err != unix.EAGAIN
}

// until returns when a flow ends, if no more datagrams come.
func (u *udp) until(f *flow) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return f.last.Add(u.relay.idle)
}
