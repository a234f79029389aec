package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// The ports of servers, and of clients in pods, which report their counts there.
const (
	HTTPPort   = "8080"
	EchoPort   = "8081"
	CountsPort = "8082"
)

// Patience is how long clients in pods wait for an answer: longer than a busy machine takes.
const Patience = 30 * time.Second

// The bytes of connections that last: end is the server's last word.
const alive, end = 'a', 'e'

// Server answers requests with its name, and bytes with bytes. When it is told to end,
// it takes no new connections and ends the others in good order.
type Server struct {
	Name string
	http http.Server
	echo net.Listener
	done chan struct{}
	open sync.WaitGroup
}

// Serve serves two listeners until the context ends, and then finishes the open
// connections.
func (s *Server) Serve(ctx context.Context, requests, echo net.Listener) error {
	s.done, s.echo = make(chan struct{}), echo
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s.Name) })
	errs := make(chan error, 2)
	go func() { errs <- s.http.Serve(requests) }()
	go func() { errs <- s.accept() }()
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
	}
	close(s.done)
	err := errors.Join(echo.Close(), s.http.Shutdown(context.WithoutCancel(ctx)))
	s.open.Wait()
	return err
}

func (s *Server) accept() error {
	for {
		conn, err := s.echo.Accept()
		if err != nil {
			return err
		}
		s.open.Go(func() {
			defer conn.Close()
			s.answer(conn)
		})
	}
}

// answer gives back each byte, until the client goes or the server ends.
func (s *Server) answer(conn net.Conn) {
	b := []byte{0}
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		select {
		case <-s.done:
			b[0] = end
		default:
		}
		if _, err := conn.Write(b); err != nil || b[0] == end {
			return
		}
	}
}
