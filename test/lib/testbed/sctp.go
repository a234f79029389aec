package testbed

import (
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ServeSCTP answers on an SCTP port as Serve does on TCP.
func (b *Bed) ServeSCTP(h *Host, port uint16, name string) error {
	var l net.Listener
	err := h.Do(func() error {
		fd, err := newSocket("sctp", netip.IPv6Unspecified())
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
