// Package load asks a server in a cluster all the time, and counts failures: of
// requests by new connections, and of connections that last.
package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/pace"
)

// Client names the server and the amount of requests.
type Client struct {
	HTTP, Echo  string        // addresses of the two listeners of a Server
	Workers     int           // goroutines that send requests, each by a new connection
	Pause       time.Duration // of a worker between two requests
	Connections int           // that last, and exchange a byte
	Period      time.Duration // of a connection between two bytes
	Patience    time.Duration // how long an answer may take

	mu     sync.Mutex
	counts Counts
}

// Counts are the results of a Client.
type Counts struct {
	Requests  int            // all that were answered or failed
	Failed    int            // those without the right answer
	Repeated  int            // connections whose first packet the kernel sent again
	Slow      int            // those that were answered after more than a second
	Servers   map[string]int // answers of each
	Open      int            // connections that last now
	Exchanged int            // bytes by those
	Ended     int            // those that the server has ended in good order
	Lost      int            // those that ended otherwise
	Errors    []string       // the first failures and losses
}

// Run asks until the context ends.
func (c *Client) Run(ctx context.Context) {
	var all sync.WaitGroup
	repeat := func(n int, work func()) {
		for range n {
			all.Go(func() {
				for ctx.Err() == nil {
					work()
				}
			})
		}
	}
	repeat(c.Workers, func() { c.request(ctx) })
	repeat(c.Connections, func() { c.last(ctx) })
	all.Wait()
}

// Counts returns the results so far.
func (c *Client) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	counts.Servers = map[string]int{}
	for name, n := range c.counts.Servers {
		counts.Servers[name] = n
	}
	counts.Errors = append([]string(nil), c.counts.Errors...)
	return counts
}

func (c *Client) count(f func(*Counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.counts)
}

// wrong keeps the first few faults.
func (n *Counts) wrong(what string, err error) {
	const enough = 10
	if len(n.Errors) < enough {
		n.Errors = append(n.Errors, fmt.Sprintf("%s %s: %v", time.Now().UTC().Format("15:04:05.000"), what, err))
	}
}

// request sends one request by a connection of its own, and waits for the pause.
func (c *Client) request(ctx context.Context) {
	began := time.Now()
	name, again, err := c.get(ctx)
	took := time.Since(began)
	if ctx.Err() != nil {
		return
	}
	c.count(func(n *Counts) {
		n.Requests++
		if again {
			n.Repeated++
		}
		if took > time.Second {
			n.Slow++
		}
		if err != nil {
			n.Failed++
			n.wrong("request", err)
			return
		}
		if n.Servers == nil {
			n.Servers = map[string]int{}
		}
		n.Servers[name]++
	})
	pace.Pause(ctx, c.Pause)
}

// get returns the name of the server that answered, and whether the kernel had to send a
// packet again to reach it.
func (c *Client) get(ctx context.Context) (name string, again bool, err error) {
	conn, err := c.dial(ctx, c.HTTP)
	if err != nil {
		return "", false, err
	}
	defer conn.Close()
	again = retransmitted(conn)
	if err := conn.SetDeadline(time.Now().Add(c.Patience)); err != nil {
		return "", again, err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n"); err != nil {
		return "", again, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", again, fmt.Errorf("from %s: %w", conn.RemoteAddr(), err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(text), again, err
}

func (c *Client) dial(ctx context.Context, address string) (*net.TCPConn, error) {
	conn, err := (&net.Dialer{Timeout: c.Patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// retransmitted says whether a connection that was just made took more than one try.
func retransmitted(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	again := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		again = err == nil && info.Total_retrans > 0
	})
	return again
}

// last keeps one connection until it ends.
func (c *Client) last(ctx context.Context) {
	conn, err := c.dial(ctx, c.Echo)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.count(func(n *Counts) {
			n.Requests++
			n.Failed++
			n.wrong("connection", err)
		})
		pace.Pause(ctx, c.Period)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c.count(func(n *Counts) { n.Open++ })
	err = c.exchange(ctx, conn)
	c.count(func(n *Counts) {
		n.Open--
		switch {
		case ctx.Err() != nil:
		case err == nil:
			n.Ended++
		default:
			n.Lost++
			n.wrong(fmt.Sprint("connection from ", conn.LocalAddr()), err)
		}
	})
}

// exchange sends bytes and gets them back, until the server ends the connection.
func (c *Client) exchange(ctx context.Context, conn net.Conn) error {
	b := []byte{0}
	for {
		if err := conn.SetDeadline(time.Now().Add(c.Patience)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{alive}); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
		switch b[0] {
		case end:
			return nil
		case alive:
		default:
			return fmt.Errorf("the byte %d came back", b[0])
		}
		c.count(func(n *Counts) { n.Exchanged++ })
		pace.Pause(ctx, c.Period)
	}
}
