package source

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"kube-ipvs/proxier/model"
)

// Reporter writes Events (events.k8s.io/v1) on Services that cannot be
// programmed as they are, for those who look at the Service and not at nodes.
type Reporter struct {
	servers apiServers
	node    string
	log     *slog.Logger
	now     func() time.Time
	poke    chan struct{} // holds one: there is something to write

	mu      sync.Mutex
	current map[string]model.Problem // by what they say
	written map[string]time.Time     // when each was written last
	refused bool                     // the last Event could not be written
}

// Limits of Events: a change that breaks thousands of Services on thousands
// of nodes must not bring the API server down.
const (
	eventsASecond = 1
	eventsBurst   = 25
	eventAgain    = 10 * time.Minute // until a Problem that has gone is told once more
	eventTimeout  = 10 * time.Second
)

// NewReporter returns a Reporter that asks the API servers in turn.
func NewReporter(configs []*rest.Config, node string, log *slog.Logger) (*Reporter, error) {
	r := &Reporter{
		node: node, log: log, now: time.Now, poke: make(chan struct{}, 1),
		current: map[string]model.Problem{}, written: map[string]time.Time{},
	}
	for _, c := range configs {
		s, err := newAPIServer(c)
		if err != nil {
			return nil, fmt.Errorf("API server %s: %w", c.Host, err)
		}
		r.servers.all = append(r.servers.all, s)
	}
	return r, nil
}

// Report says what is wrong now. A Problem is written once; if it goes and
// comes back, not more than every ten minutes. It returns at once.
func (r *Reporter) Report(problems []model.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.current
	r.current = map[string]model.Problem{}
	for _, p := range problems {
		if strings.HasPrefix(p.Object, "Service ") {
			r.current[p.UID+" "+p.String()] = p
		}
	}
	for id, at := range r.written {
		_, was := before[id]
		_, is := r.current[id]
		if !(was && is) && r.now().Sub(at) > eventAgain {
			delete(r.written, id)
		}
	}
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// Run writes Events until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	limit := rate.NewLimiter(eventsASecond, eventsBurst)
	for {
		p, id, ok := r.next()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-r.poke:
			}
			continue
		}
		if limit.Wait(ctx) != nil {
			return
		}
		err := r.write(ctx, p)
		if ctx.Err() != nil {
			return // which is no fault of the API server
		}
		r.note(id, err)
	}
}

// next returns a Problem that has not been written.
func (r *Reporter) next() (p model.Problem, id string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.current {
		if _, done := r.written[id]; !done {
			return p, id, true
		}
	}
	return p, "", false
}

// note takes what could not be written for done: an Event is not worth more
// than one request.
func (r *Reporter) note(id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written[id] = r.now()
	if err != nil && !r.refused {
		r.log.Warn("Events cannot be written; what is wrong stands in this log", "err", err)
	}
	r.refused = err != nil
}

func (r *Reporter) write(ctx context.Context, p model.Problem) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	e := r.event(p)
	err := r.servers.ask(ctx, events, func(c rest.Interface) error {
		return c.Post().Namespace(e.Namespace).Resource("events").Body(e).MaxRetries(0).Do(ctx).Error()
	})
	if apierrors.IsAlreadyExists(err) {
		return nil // from before a restart
	}
	return err
}

func (r *Reporter) event(p model.Problem) *eventsv1.Event {
	const mostNote, mostNode = 1024, 128 // bytes, by the API
	namespace, name, _ := strings.Cut(strings.TrimPrefix(p.Object, "Service "), "/")
	note := p.Message
	if p.Field != "" {
		note = p.Field + ": " + note
	}
	note = strings.ToValidUTF8(note[:min(len(note), mostNote)], "")
	hash := fnv.New64a()
	_, _ = fmt.Fprint(hash, r.node, p.UID, p.String()) // never fails
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", name, hash.Sum64()^uint64(r.now().Unix()/int64(eventAgain/time.Second)))},
		EventTime:  metav1.NewMicroTime(r.now()), ReportingController: "kube-ipvs", ReportingInstance: r.node[:min(len(r.node), mostNode)],
		Action: "Program", Reason: "NotProgrammed", Type: corev1.EventTypeWarning, Note: note,
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name, UID: types.UID(p.UID)},
	}
}
