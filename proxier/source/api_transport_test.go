package source

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// A watch that no server answers is asked for again from where it was: the objects are not
// read anew.
func TestUnansweredWatchIsResumed(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("here"))
	s := tellAPI(t, f.URL)
	s.awaitSynced(t)
	f.put(apiService("seen")) // a watch that ends soon and has told nothing is not trusted
	s.awaitNames(t, "here seen web")
	lists, watches := f.count("/services")-f.count("/services", "watch=true"), f.count("/services", "watch=true")
	f.setFault(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	f.cut()
	f.await(t, "retries", func() bool { return f.count("/services", "watch=true") >= watches+3 })
	s.awaitProblem(t, "EOF")
	f.setFault(nil)
	f.put(apiService("after"))
	s.awaitNames(t, "after here seen web")
	s.awaitWell(t)
	if n := f.count("/services") - f.count("/services", "watch=true"); n != lists {
		t.Errorf("%d lists more", n-lists)
	}
}

// A server that ends each stream after a bookmark is not asked without a pause.
func TestWatchesThatEndAreNotAskedInALoop(t *testing.T) {
	f := newFakeAPI(t)
	f.put(apiService("web"), apiNode("here"))
	f.setFault(onWatch(raw("application/json",
		`{"type":"BOOKMARK","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"102"}}}`)))
	began := time.Now()
	s := tellAPI(t, f.URL)
	s.awaitSynced(t)
	f.await(t, "some watches", func() bool { return f.count("/endpointslices", "watch=true") >= 20 })
	if took := time.Since(began); took < 19*watchPace {
		t.Errorf("20 watches in %s, want %s between two", took, watchPace)
	}
	f.setFault(nil)
	f.put(apiSlice("web-1", "web", "10.0.0.1"))
	s.awaitNames(t, "here web web-1")
}

// failing answers with a body that ends with an error.
type failing struct{ err error }

func (f failing) RoundTrip(r *http.Request) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader("some"), errorReader(f))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: r}, nil
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

// Of a list the cause stands in the Problem; a watch goes on.
func TestLostStreamHasEnded(t *testing.T) {
	lost := errors.New("http2: client connection lost")
	for _, c := range []struct {
		watch    bool
		is, want error
	}{{true, lost, io.ErrUnexpectedEOF}, {true, io.EOF, nil}, {false, lost, lost}} {
		ctx := t.Context()
		if c.watch {
			ctx = context.WithValue(ctx, outcomeKey{}, &outcome{})
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://192.0.2.1", nil)
		must(t, err)
		answer, err := newTransport(failing{c.is}).RoundTrip(r)
		must(t, err)
		if text, err := io.ReadAll(answer.Body); string(text) != "some" || !errors.Is(err, c.want) {
			t.Errorf("watch %t, %v: read %q, %v, want %v", c.watch, c.is, text, err, c.want)
		}
	}
}

func TestUnansweredIsRefused(t *testing.T) {
	err := error(unanswered{&net.OpError{Op: "dial", Err: io.EOF}})
	if !utilnet.IsConnectionRefused(err) || !errors.Is(err, io.EOF) || !silent(err) {
		t.Errorf("%v is taken for an answer", err)
	}
}

// Requests that come at once share a connection.
func TestTransportSharesConnection(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	inner := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer inner.CloseIdleConnections()
	client := &http.Client{Transport: newTransport(inner)}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			answer, err := client.Get(server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
		})
	}
	wg.Wait()
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for requests to one server, want 1", n)
	}
}
