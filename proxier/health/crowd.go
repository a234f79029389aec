package health

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// crowd bounds the connections of one or several servers. When there is one
// too many, that one is closed which has done nothing for the longest time: a
// new one is never kept waiting, so that a probe is answered however many
// connections others hold open.
type crowd struct {
	most int
	log  *slog.Logger

	mu   sync.Mutex
	all  list.List // of net.Conn; the one that last did something at the back
	at   map[net.Conn]*list.Element
	told time.Time // when it was last logged that there are too many
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

// enter puts a connection at the back, and returns the one that has to go for
// it. One that has gone meanwhile does not come again.
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
			c.log.Warn("too many connections: those that wait for the longest time are closed", "most", c.most, "address", conn.LocalAddr(), "from", conn.RemoteAddr())
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
