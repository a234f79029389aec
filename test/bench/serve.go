package main

import (
	"fmt"
	"io"
	"net"

	"kube-ipvs/test/lib/testbed"
)

// A request has this size, and so has its answer.
const requestSize = 64

// swallow is the first byte of a connection whose data no client counts:
// the server reads until its end, and closes it. All else is echoed.
const swallow = 's'

// serve answers on a port of a host, TCP and UDP.
func (l *lab) serve(h *testbed.Host, port uint16) error {
	return h.Do(func() error {
		tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		l.servers = append(l.servers, tcp)
		udp, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		l.servers = append(l.servers, udp)
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				go answer(c)
			}
		}()
		go echo(udp)
		return nil
	})
}

func answer(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if buf[0] == swallow {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func echo(p net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = p.WriteTo(buf[:n], from)
	}
}
