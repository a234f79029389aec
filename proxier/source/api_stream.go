package source

import (
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// steady is how long a stream must last to be taken for a good one.
const steady = 10 * time.Second

// streams judges the watches of a kind: a reflector starts another one when
// something cannot be read, and says nothing of it.
type streams struct {
	kind    kind
	trouble *trouble
	broken  atomic.Int32 // in a row
}

// follow passes on the events of w, and ends when w has ended or Stop is called.
func (s *streams) follow(w apiwatch.Interface) apiwatch.Interface {
	f := &followed{inner: w, out: make(chan apiwatch.Event), done: make(chan struct{})}
	go func() {
		defer close(f.out)
		good := time.AfterFunc(steady, func() {
			s.broken.Store(0)
			s.trouble.solved(s.about())
		})
		defer good.Stop()
		for e := range w.ResultChan() {
			e = s.judge(e)
			select {
			case f.out <- e:
			case <-f.done:
				return
			}
		}
	}()
	return f
}

func (s *streams) about() string { return s.kind.name + " stream" }

// judge tells of an error, unless it is the first one in a row: a connection
// that is lost may look like that.
func (s *streams) judge(e apiwatch.Event) apiwatch.Event {
	if e.Type != apiwatch.Error && reflect.TypeOf(e.Object) != reflect.TypeOf(s.kind.typ) {
		status := apierrors.NewInternalError(fmt.Errorf("a watch of %s told of a %T", s.kind.name, e.Object)).ErrStatus
		e = apiwatch.Event{Type: apiwatch.Error, Object: &status}
	}
	if e.Type != apiwatch.Error {
		return e
	}
	if status, ok := e.Object.(*metav1.Status); ok && (status.Code == http.StatusGone || status.Code == http.StatusTooManyRequests) {
		return e
	}
	if s.broken.Add(1) > 1 {
		s.trouble.change(s.about(), "stream", problemOf("", "", fmt.Sprintf("what the API server streams of %s cannot be read since %s: %s; they are listed again and again instead",
			s.kind.name, time.Now().Format(time.TimeOnly), oneLine(apierrors.FromObject(e.Object)))))
	}
	return e
}

// followed is a watch whose events somebody else sees first.
type followed struct {
	inner apiwatch.Interface
	out   chan apiwatch.Event
	done  chan struct{}
	once  sync.Once
}

// ResultChan is part of watch.Interface.
func (f *followed) ResultChan() <-chan apiwatch.Event { return f.out }

// Stop is part of watch.Interface.
func (f *followed) Stop() {
	f.once.Do(func() {
		close(f.done)
		f.inner.Stop()
	})
}
