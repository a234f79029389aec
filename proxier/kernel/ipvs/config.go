package ipvs

import (
	"fmt"
	"math"
	"time"

	"kube-ipvs/netutil"
)

// maxTimeout is the longest timeout of every kernel: 31 bits of ticks, of which up to 1,000
// make a second. Newer kernels refuse more, and in those before 5.0 it wraps around.
const maxTimeout = math.MaxInt32 / 1000 * time.Second

// Timeouts returns the time without a packet after which the namespace's connections end:
// established TCP, TCP after a FIN, and UDP. 0: the kernel's IPVS lacks the protocol.
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

// SetTimeouts sets the timeouts; 0 leaves one alone. It rounds up to whole seconds. Existing
// connections take the new timeout with their next packet. Idempotent.
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
