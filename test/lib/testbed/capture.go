package testbed

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Packet is the part of an IP packet that a Capture keeps.
type Packet struct {
	Proto    uint8 // as in the IP header
	From, To netip.AddrPort
}

func (p Packet) String() string {
	name := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[p.Proto]
	if name == "" {
		name = fmt.Sprintf("protocol %d", p.Proto)
	}
	return fmt.Sprintf("%s %s > %s", name, p.From, p.To)
}

// Capture records the packets that pass a host's link, in both directions.
type Capture struct {
	file *os.File
	done chan struct{}
	mu   sync.Mutex
	seen []Packet
}

// Capture starts to record on a link of the host.
func (h *Host) Capture(link string) (*Capture, error) {
	c := &Capture{done: make(chan struct{})}
	err := h.Do(func() error {
		at, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return err
		}
		c.file = os.NewFile(uintptr(fd), "capture")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: at.Index})
	})
	if err != nil {
		return nil, fmt.Errorf("capture on %s of %s: %w", link, h.Name, err)
	}
	go c.run()
	return c, nil
}

func (c *Capture) run() {
	defer close(c.done)
	buf := make([]byte, 65536)
	for {
		n, err := c.file.Read(buf)
		if err != nil {
			return
		}
		if p, ok := decode(buf[:n]); ok {
			c.mu.Lock()
			c.seen = append(c.seen, p)
			c.mu.Unlock()
		}
	}
}

// Packets returns those seen so far that match.
func (c *Capture) Packets(match func(Packet) bool) []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Packet
	for _, p := range c.seen {
		if match(p) {
			out = append(out, p)
		}
	}
	return out
}

// Await waits for a packet that matches.
func (c *Capture) Await(ctx context.Context, limit time.Duration, match func(Packet) bool) error {
	return Await(ctx, limit, func() error {
		if len(c.Packets(match)) == 0 {
			return fmt.Errorf("no such packet was seen")
		}
		return nil
	})
}

// Close ends the recording.
func (c *Capture) Close() {
	_ = c.file.Close()
	<-c.done
}

// decode reads the addresses and, behind a plain IP header, the ports.
func decode(b []byte) (Packet, bool) {
	var p Packet
	var from, to netip.Addr
	var payload []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && len(b) >= int(b[0]&15)*4:
		p.Proto = b[9]
		from, to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		payload = b[int(b[0]&15)*4:]
	case len(b) >= 40 && b[0]>>4 == 6:
		p.Proto = b[6]
		from, to = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		payload = b[40:]
	default:
		return p, false
	}
	var sport, dport uint16
	switch p.Proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		if len(payload) >= 4 {
			sport, dport = binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])
		}
	}
	p.From, p.To = netip.AddrPortFrom(from, sport), netip.AddrPortFrom(to, dport)
	return p, true
}
