package ipvs

import (
	"fmt"
	"math"
	"time"

	"kube-ipvs/netutil"
)

// maxTimeout is what every kernel can count: 31 bits of ticks, of which up to 1,000 make a
// second. More is refused by newer kernels, and wraps around in those before 5.0.
const maxTimeout = math.MaxInt32 / 1000 * time.Second

// Timeouts returns after how long without a packet the namespace's connections
// end: established TCP, TCP after a FIN, and UDP. 0 for a protocol that the
// kernel's IPVS was built without.
func (c *Client) Timeouts() (tcp, tcpFin, udp time.Duration, err error) {
	c.b.Reset()
	c.begin(&c.b, cmdGetConfig)
	err = c.conn.Get(&c.b, func(_ uint16, p []byte) error {
		each(attrs(p), func(a netutil.Attr) {
			seconds := time.Duration(u32(a.Data)) * time.Second
			switch a.Type {
			case attrTimeoutTCP:
				tcp = seconds
			case attrTimeoutTCPFin:
				tcpFin = seconds
			case attrTimeoutUDP:
				udp = seconds
			}
		})
		return nil
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("read the IPVS timeouts: %w", Error(err))
	}
	return tcp, tcpFin, udp, nil
}

// SetTimeouts sets what Timeouts returns; 0 keeps what is. The kernel counts in
// whole seconds: parts of one are rounded up. Connections that exist take the
// new timeout with their next packet. Idempotent.
func (c *Client) SetTimeouts(tcp, tcpFin, udp time.Duration) error {
	c.b.Reset()
	c.begin(&c.b, cmdSetConfig)
	for attr, d := range map[uint16]time.Duration{attrTimeoutTCP: tcp, attrTimeoutTCPFin: tcpFin, attrTimeoutUDP: udp} {
		if d < 0 || d > maxTimeout {
			return fmt.Errorf("set the IPVS timeouts: %v is impossible", d)
		}
		c.b.U32(attr, uint32((d+time.Second-1)/time.Second))
	}
	if err := c.one(); err != nil {
		return fmt.Errorf("set the IPVS timeouts: %w", err)
	}
	return nil
}
