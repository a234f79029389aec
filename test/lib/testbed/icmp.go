package testbed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ICMPError is a request that an ICMP error ended.
type ICMPError struct {
	Type, Code uint8
	IPv6       bool
	By         netip.Addr // its sender
	Err        error      // the error that the socket returned
}

func (e *ICMPError) Error() string { return fmt.Sprintf("%s from %s", e.Name(), e.By) }
func (e *ICMPError) Unwrap() error { return e.Err }

// Name says which ICMP error it is, alike for both families.
func (e *ICMPError) Name() string {
	names := map[[2]uint8]string{{3, 0}: "net unreachable", {3, 1}: "host unreachable", {3, 3}: "port unreachable", {3, 4}: "packet too big",
		{3, 9}: "prohibited", {3, 10}: "prohibited", {3, 13}: "prohibited", {11, 0}: "time exceeded"}
	if e.IPv6 {
		names = map[[2]uint8]string{{1, 0}: "net unreachable", {1, 1}: "prohibited", {1, 3}: "host unreachable", {1, 4}: "port unreachable",
			{2, 0}: "packet too big", {3, 0}: "time exceeded"}
	}
	if name := names[[2]uint8{e.Type, e.Code}]; name != "" {
		return "ICMP " + name
	}
	return fmt.Sprintf("ICMP type %d code %d", e.Type, e.Code)
}

// keepICMP has a socket keep the ICMP errors that it gets. They then end a
// connection that is being made, too, even those that are not final.
func keepICMP(fd int, family netip.Addr) error {
	if family.Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
}

// explain returns err with the ICMP error that led to it, if the socket has kept one.
func explain(fd int, err error) error {
	// A socket reports an error a moment before it has its cause.
	for deadline := time.Now().Add(5 * time.Millisecond); ; time.Sleep(time.Millisecond) {
		if icmp := readICMP(fd); icmp != nil {
			icmp.Err = err
			return icmp
		}
		if !errors.Is(err, unix.ECONNREFUSED) || time.Now().After(deadline) {
			return err
		}
	}
}

// explainConn is explain for a connection.
func explainConn(c net.Conn, err error) error {
	s, ok := c.(syscall.Conn)
	if err == nil || !ok {
		return err
	}
	if raw, fault := s.SyscallConn(); fault == nil {
		_ = raw.Control(func(fd uintptr) { err = explain(int(fd), err) })
	}
	return err
}

// readICMP takes the first ICMP error from the error queue, struct
// sock_extended_err of linux/errqueue.h.
func readICMP(fd int) *ICMPError {
	control := make([]byte, 512)
	for {
		_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 64), control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return nil
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			return nil
		}
		for _, m := range messages {
			if icmp := parseICMP(m.Data); icmp != nil {
				return icmp
			}
		}
	}
}

func parseICMP(data []byte) *ICMPError {
	const size = int(unsafe.Sizeof(unix.SockExtendedErr{}))
	if len(data) < size {
		return nil
	}
	// ee_errno is 4 bytes; then come origin, type and code, one each.
	origin := data[4]
	if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
		return nil
	}
	out := &ICMPError{Type: data[5], Code: data[6], IPv6: origin == unix.SO_EE_ORIGIN_ICMP6}
	from := data[size:] // SO_EE_OFFENDER: a sockaddr
	switch {
	case out.IPv6 && len(from) >= 24:
		out.By = netip.AddrFrom16([16]byte(from[8:24]))
	case len(from) >= 8:
		out.By = netip.AddrFrom4([4]byte(from[4:8]))
	}
	return out
}
