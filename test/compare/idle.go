package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// idleScenarios are connections that say nothing for a while.
func idleScenarios() []Scenario {
	return chapter("Idle connections", together(
		// IPVS is given 5 s for each state that a timeout can be given for.
		Scenario{Name: "10 s idle", Variant: ShortTimeouts, Play: idle(10 * time.Second)},
		// CLOSE_WAIT is 60 s with any timeouts: tcp_timeouts of ip_vs_proto_tcp.c.
		Scenario{Name: "70 s idle", Play: idle(70 * time.Second)},
	)...)
}

// quiet is a connection of which both ends are ours.
type quiet struct {
	ask            Ask
	how            string // its actions before the silence, and after
	client, server *net.TCPConn
	err            error
}

const (
	clientSpeaks   = "idle, then the client speaks"
	serverSpeaks   = "idle, then the server speaks"
	serverAnswers  = "half closed by the client, then the server answers"
	clientGoesOn   = "half closed by the server, then the client goes on"
	quietPort      = 8090
	answerPatience = 4 * time.Second
)

// idle opens connections of each sort, and later, after the time, uses them.
func idle(long time.Duration) func(context.Context, *Scene) error {
	return func(ctx context.Context, s *Scene) error {
		m := &meeting{waiting: map[string]chan *net.TCPConn{}}
		var all []*quiet
		for _, on := range []*testbed.Host{s.P1, s.R1} {
			v := s.Number(testbed.Service{Name: "quiet", Type: "LoadBalancer", Protocols: []string{"TCP"}})
			if err := s.listenQuietly(ctx, m, v, on); err != nil {
				return err
			}
			if err := s.Programmed(ctx); err != nil {
				return err
			}
			for _, a := range s.sides(v, "tcp") {
				a.Target += " of " + on.Name
				for _, how := range []string{clientSpeaks, serverSpeaks, serverAnswers, clientGoesOn} {
					q := &quiet{ask: a, how: how}
					q.err = m.open(ctx, q, fmt.Sprintf("%d", len(all)))
					all = append(all, q)
				}
			}
		}
		s.Undo(func(context.Context) error {
			for _, q := range all {
				q.close()
			}
			return nil
		})
		// At that time, in any scenario: with direct, connections live so long and no
		// longer.
		outcomes := make([]string, len(all))
		var over, end sync.WaitGroup
		aside := context.WithoutCancel(ctx)
		over.Go(func() {
			wait(aside, long)
			for i, q := range all {
				end.Go(func() { outcomes[i] = q.outcome() })
			}
			end.Wait()
		})
		s.Later(func(context.Context) error {
			over.Wait()
			for i, q := range all {
				s.Record(q.how+": "+q.ask.String(), outcomes[i])
			}
			return nil
		})
		return nil
	}
}

// listenQuietly makes a Service with a listener that leaves it to us what to answer.
func (s *Scene) listenQuietly(ctx context.Context, m *meeting, v testbed.Service, on *testbed.Host) error {
	var l net.Listener
	err := on.Do(func() error {
		var err error
		// Probes would end the silence.
		l, err = (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", fmt.Sprintf(":%d", quietPort))
		return err
	})
	if err != nil {
		return err
	}
	s.Undo(func(context.Context) error { return l.Close() })
	go m.serve(l)
	s.Undo(func(ctx context.Context) error { return s.Control.Delete(ctx, v.Name) })
	return s.ApplyText(ctx, v.Manifest()+s.Slices(v.Name, "tcp", "TCP", quietPort, testbed.Backends(on)))
}

// meeting brings the two ends of a connection together: the client begins with a
// line that names it.
type meeting struct {
	mu      sync.Mutex
	waiting map[string]chan *net.TCPConn
}

func (m *meeting) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			line, err := bufio.NewReader(c).ReadString('\n')
			m.mu.Lock()
			to := m.waiting[strings.TrimSpace(line)]
			m.mu.Unlock()
			if err != nil || to == nil {
				_ = c.Close()
				return
			}
			to <- c.(*net.TCPConn)
		}()
	}
}

// open connects, and half-closes the connection if it is to be.
func (m *meeting) open(ctx context.Context, q *quiet, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	arrived := make(chan *net.TCPConn, 1)
	m.mu.Lock()
	m.waiting[name] = arrived
	m.mu.Unlock()
	c, err := q.ask.From.DialContext(ctx, "tcp", q.ask.To.String())
	if err != nil {
		return err
	}
	q.client = c.(*net.TCPConn)
	if err := q.client.SetKeepAlive(false); err != nil {
		return err
	}
	if _, err := q.client.Write([]byte(name + "\n")); err != nil {
		return err
	}
	select {
	case q.server = <-arrived:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch q.how {
	case serverAnswers:
		return shut(q.client, q.server)
	case clientGoesOn:
		return shut(q.server, q.client)
	}
	return nil
}

// shut closes a connection in one direction, and waits until the peer knows.
func shut(c, peer *net.TCPConn) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_ = peer.SetReadDeadline(time.Now().Add(patience))
	if n, err := peer.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		return fmt.Errorf("the end of the stream did not arrive: %d bytes, %w", n, err)
	}
	return nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// outcome says whether data sent after the silence arrives.
func (q *quiet) outcome() string {
	if q.err != nil {
		return "was never open: " + testbed.Outcome(testbed.Answer{}, q.err)
	}
	var err error
	switch q.how {
	case clientSpeaks:
		if err = say(q.client, q.server); err == nil {
			err = say(q.server, q.client)
		}
	case serverSpeaks:
		if err = say(q.server, q.client); err == nil {
			err = say(q.client, q.server)
		}
	case serverAnswers:
		err = say(q.server, q.client)
	case clientGoesOn:
		err = say(q.client, q.server)
	}
	if err != nil {
		return "is broken"
	}
	return "lives"
}

// say sends something to the peer, and waits until it is there.
func say(from, to *net.TCPConn) error {
	if _, err := from.Write([]byte("!")); err != nil {
		return err
	}
	_ = to.SetReadDeadline(time.Now().Add(answerPatience))
	_, err := to.Read(make([]byte, 1))
	return err
}

func (q *quiet) close() {
	for _, c := range []*net.TCPConn{q.client, q.server} {
		if c != nil {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}
