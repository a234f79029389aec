package health

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// crowd bounds the connections of one or several servers. If there is one too many, it
// closes the one that has been idle for longest. So a new connection never waits, and a
// probe is answered however many connections other clients hold open.
type crowd struct {
	most int
	log  *slog.Logger

	mu   sync.Mutex
	all  list.List // of net.Conn, the last active one at the back
	at   map[net.Conn]*list.Element
	told time.Time // last log message about too many connections
}

const tellCrowdEvery = 10 * time.Minute

func newCrowd(most int, log *slog.Logger) *crowd {
	return &crowd{most: most, log: log, at: map[net.Conn]*list.Element{}}
}

// note is http.Server.ConnState: a connection has come, has sent the header of
// a request, has its answer, or has ended.
func (c *crowd) note(conn net.Conn, s http.ConnState) {
	if s == http.StateHijacked || s == http.StateClosed {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drop(conn)
		return
	}
	if last := c.enter(conn, s == http.StateNew); last != nil {
		_ = last.Close()
	}
}

// enter moves a connection to the back, and adds a new one. It returns the one that must be
// closed for a new one. It does not add an old one that was closed meanwhile.
func (c *crowd) enter(conn net.Conn, isNew bool) (last net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.at[conn]; at != nil {
		c.all.MoveToBack(at)
		return nil
	}
	if !isNew {
		return nil
	}
	if c.all.Len() >= c.most {
		last = c.all.Front().Value.(net.Conn)
		c.drop(last)
		if c.told.IsZero() || time.Since(c.told) > tellCrowdEvery {
			c.told = time.Now()
			c.log.Warn("too many connections: those idle for longest are closed", "most", c.most, "address", conn.LocalAddr(), "from", conn.RemoteAddr())
		}
	}
	c.at[conn] = c.all.PushBack(conn)
	return last
}

func (c *crowd) drop(conn net.Conn) {
	if at := c.at[conn]; at != nil {
		c.all.Remove(at)
		delete(c.at, conn)
	}
}
