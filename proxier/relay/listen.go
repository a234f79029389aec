package relay

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener has the sockets of a family to which rules send clients.
type Listener struct {
	at  netip.AddrPort
	tcp *net.TCPListener
	udp *net.UDPConn
}

// Listen listens where the rules send clients (desired.Config.Relay), for TCP and UDP.
// The address need not be local yet. The error is EADDRINUSE if another program has the port on all
// addresses: no rule may send clients then, since that program would get them. After Listen no other
// program can get the port. Relay.Run closes the Listener.
func Listen(at netip.AddrPort) (*Listener, error) {
	ctx := context.Background()
	config := net.ListenConfig{Control: freely}
	config.SetMultipathTCP(false)
	tcp, err := config.Listen(ctx, network("tcp", at.Addr()), at.String())
	if err != nil {
		return nil, err
	}
	udp, err := config.ListenPacket(ctx, network("udp", at.Addr()), at.String())
	if err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return &Listener{at, tcp.(*net.TCPListener), udp.(*net.UDPConn)}, nil
}

func (l *Listener) close() {
	_ = l.tcp.Close()
	_ = l.udp.Close()
}

// freely allows an address that is not local yet, or local by a route alone.
func freely(network, _ string, c syscall.RawConn) error {
	if network == "tcp6" || network == "udp6" {
		return setOption(c, unix.SOL_IPV6, unix.IPV6_FREEBIND)
	}
	return setOption(c, unix.SOL_IP, unix.IP_FREEBIND)
}

func setOption(c syscall.RawConn, level, option int) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	if err != nil {
		return err
	}
	return failed
}
