package source

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"
)

// outcome is the error of a request for a watch. client-go turns a request that timed out or lost
// its connection into an empty watch, as if a server had answered.
type outcome struct{ err error }

type outcomeKey struct{}

// unanswered says that no server has answered. After it a reflector continues to watch where it was,
// as after a refused connection. After any other error it would read all objects anew, as all nodes
// would at once.
type unanswered struct{ error }

// Unwrap is for errors.Is and errors.As.
func (u unanswered) Unwrap() error { return u.error }

// As is for errors.As.
func (u unanswered) As(target any) bool {
	errno, ok := target.(*syscall.Errno)
	if ok {
		*errno = syscall.ECONNREFUSED
	}
	return ok
}

// transport notes the outcome of requests, and makes them share a connection.
type transport struct {
	http.RoundTripper
	turn chan struct{} // holds one: a request that has no connection yet
}

func newTransport(inner http.RoundTripper) *transport {
	return &transport{RoundTripper: inner, turn: make(chan struct{}, 1)}
}

// turnWait is how long a request waits for the connection of another one, so that a connection that
// cannot be made does not delay all of them.
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

// wait lets requests begin one after another, each when the one before it has a connection. The
// caller must call next when the returned request has an answer.
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

// stream is the answer of a watch. It turns each error into an early end, after which client-go
// continues the watch; after other errors client-go would read all objects anew.
type stream struct{ io.ReadCloser }

// Read is part of io.Reader.
func (s stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
