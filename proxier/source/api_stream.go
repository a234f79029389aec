package source

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// steady is how long a stream must last to count as good after bad ones. Tests set less.
var steady = 10 * time.Second

// watchPace is the least time from an answered watch to the next watch of the kind. A reflector does not
// wait after a stream with an event, and no limit of requests applies to watches. Tests set less.
var watchPace = time.Second

// follow passes on the events of w until w ends or Stop is called. It reports errors in the stream,
// after which a reflector silently starts another watch.
func (lw *listerWatcher) follow(ctx context.Context, w apiwatch.Interface) apiwatch.Interface {
	f := &followed{inner: w, out: make(chan apiwatch.Event), done: make(chan struct{})}
	go func() {
		defer close(f.out)
		good := time.AfterFunc(steady, func() {
			lw.health.streamed(true)
			lw.health.works(verbWatch)
		})
		defer good.Stop()
		for e := range w.ResultChan() {
			e = lw.judge(ctx, e)
			select {
			case f.out <- e:
			case <-f.done:
				return
			}
		}
	}()
	return f
}

// judge reports an error, unless it is the first one in a row: a lost connection may look like an
// error.
func (lw *listerWatcher) judge(ctx context.Context, e apiwatch.Event) apiwatch.Event {
	if e.Type != apiwatch.Error && reflect.TypeOf(e.Object) != reflect.TypeOf(lw.kind.typ) {
		status := apierrors.NewInternalError(fmt.Errorf("a watch of %s delivered a %T", lw.kind.name, e.Object)).ErrStatus
		e = apiwatch.Event{Type: apiwatch.Error, Object: &status}
	}
	status, _ := e.Object.(*metav1.Status)
	switch {
	case e.Type != apiwatch.Error:
		if lw.health.unbroken() {
			lw.health.works(verbWatch)
		}
	case status != nil && (status.Code == http.StatusGone || status.Code == http.StatusTooManyRequests):
	case !lw.health.streamed(false):
		lw.note(ctx, verbWatch, apierrors.FromObject(e.Object))
	}
	return e
}

// followed is a watch that passes on the events of another watch.
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
