package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"kube-ipvs/proxier/pace"
)

const (
	retryListen  = 5 * time.Second  // between tries to open an address
	askTimeout   = 10 * time.Second // limit for a client to send its whole request
	sendTimeout  = 30 * time.Second // limit for a client to receive the answer
	idleTimeout  = 90 * time.Second // limit for a connection without a request
	mostHeader   = 16 << 10         // bytes of a request's header
	mostConns    = 256              // connections to an address
	closeTimeout = 2 * time.Second  // limit for open requests when the server ends
)

// Serve serves handler at addr until ctx ends. Then it closes the address, waits for open
// requests, and returns nil. It returns nil at once if addr is empty. If the address cannot
// be opened, or fails later, it logs that once and tries again every five seconds; with
// hardFail it returns the error.
//
// Connections are bounded in number (see crowd) and time.
func Serve(ctx context.Context, addr string, handler http.Handler, hardFail bool, log *slog.Logger) error {
	return (&server{addr: addr, handler: handler, hardFail: hardFail, log: log, listen: net.Listen}).run(ctx)
}

type server struct {
	addr     string
	handler  http.Handler
	hardFail bool
	log      *slog.Logger
	listen   func(network, addr string) (net.Listener, error)
}

func (s *server) run(ctx context.Context) error {
	if s.addr == "" {
		return nil
	}
	for told := false; ctx.Err() == nil; {
		ln, err := s.listen("tcp", s.addr)
		if err == nil {
			if told {
				s.log.Info("address is served", "address", s.addr)
			}
			told = false
			err = s.serve(ctx, ln)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case s.hardFail:
			return fmt.Errorf("serve %s: %w", s.addr, err)
		case !told:
			s.log.Error("address cannot be served; it is tried again", "address", s.addr, "every", retryListen, "err", err)
			told = true
		}
		pace.Pause(ctx, retryListen)
	}
	return nil
}

// serve returns when ctx ends or the listener fails.
func (s *server) serve(ctx context.Context, ln net.Listener) error {
	srv := newServer(s.handler, newCrowd(mostConns, s.log), s.log)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		_ = srv.Close()
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
		_ = srv.Close()
	}
	_ = ln.Close() // Shutdown does not know it if Serve has not begun
	<-failed       //nolint:errcheck // it is that the server is closed
	return nil
}

// newServer returns a server for untrusted clients: no client holds a resource for long.
func newServer(h http.Handler, c *crowd, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadTimeout: askTimeout, WriteTimeout: sendTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: mostHeader,
		ConnState: c.note,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug), // faults of clients
	}
}
