package source

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"
)

// outcome is how a request for a watch went. client-go makes an empty watch of one that
// timed out or whose connection was cut, as if a server had answered.
type outcome struct{ err error }

type outcomeKey struct{}

// unanswered is that no server has answered. A reflector that is told so goes on watching
// from where it was, as after a refused connection; after any other error it reads all
// objects anew, and so would all nodes at once.
type unanswered struct{ error }

// Unwrap is for errors.Is and errors.As.
func (u unanswered) Unwrap() error { return u.error }

// As is part of what errors.As looks for.
func (u unanswered) As(target any) bool {
	errno, ok := target.(*syscall.Errno)
	if ok {
		*errno = syscall.ECONNREFUSED
	}
	return ok
}

// transport tells the outcome of requests, and has them share a connection.
type transport struct {
	http.RoundTripper
	turn chan struct{} // holds one: a request that has no connection yet
}

func newTransport(inner http.RoundTripper) *transport {
	return &transport{RoundTripper: inner, turn: make(chan struct{}, 1)}
}

// turnWait is how long a request waits for the connection of another: one that cannot be
// made must not hold up all of them in turn.
const turnWait = time.Second

// RoundTrip is part of http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r, next := t.wait(r)
	defer next()
	answer, err := t.RoundTripper.RoundTrip(r)
	if out, ok := r.Context().Value(outcomeKey{}).(*outcome); ok {
		out.err = err
		if err == nil {
			answer.Body = stream{answer.Body}
		}
	}
	return answer, err
}

// wait has requests begin one after another, each when the one before it has a connection.
// next is to be called when the returned request has been answered.
func (t *transport) wait(r *http.Request) (request *http.Request, next func()) {
	ctx := r.Context()
	select {
	case t.turn <- struct{}{}:
	case <-time.After(turnWait):
		return r, func() {}
	case <-ctx.Done():
		return r, func() {}
	}
	next = sync.OnceFunc(func() { <-t.turn })
	return r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { next() }})), next
}

// stream is the answer of a watch. However the connection is lost, it has ended, which
// client-go takes of some errors only: after others all objects would be read anew.
type stream struct{ io.ReadCloser }

// Read is part of io.Reader.
func (s stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
