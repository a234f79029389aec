package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// APIOptions are what an API source must be told.
type APIOptions struct {
	Configs          []*rest.Config // one an API server, tried in turn; see LoadConfigs
	NodeName         string         // whose Node object is followed
	ServiceProxyName string         // value of the label service.kubernetes.io/service-proxy-name of the Services that are meant; empty: those without it
	Pods             bool           // EndpointSlices keep the names of pods
}

// API follows the Services, the EndpointSlices and the own Node of API
// servers. It lists and watches what kube-proxy does and keeps no copy of what
// it delivers, but for names and versions: a relist delivers what has changed.
//
// While no server answers, everything stays as it was told last. The last
// endpoints of the Service default/kubernetes, by which nodes may reach the API
// server, are kept even if it says that there are none.
func API(o APIOptions) (Source, error) {
	if len(o.Configs) == 0 {
		return nil, errors.New("no API server is named")
	}
	a := &api{options: o, backoff: backoff}
	for _, c := range o.Configs {
		s, err := newAPIServer(c)
		if err != nil {
			return nil, fmt.Errorf("API server %s: %w", c.Host, err)
		}
		a.servers.all = append(a.servers.all, s)
	}
	return a, nil
}

// nodeWait is how long the start waits for the Node when all else is there. A
// node that has none yet can serve, without topology hints. Tests wait less.
var nodeWait = 5 * time.Second

// backoff is between tries to read from an API server: soon at first, because
// it mostly restarts, and with jitter, because all nodes ask.
var backoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 8, Cap: 20 * time.Second}

// kind is a kind of object that is followed.
type kind struct {
	name  string // plural, for people and requests
	typ   runtime.Object
	list  func() runtime.Object
	group groupVersion
	label string
	field string
	event func(runtime.Object) Event
	blank func(key) Event // that the object is gone
}

// kinds selects as kube-proxy does: a Service is another proxy's by its label alone,
// while slices need none. Those that are mirrored or written by hand have no label of
// their Service, and the others may have an old one for some time.
func (o APIOptions) kinds() []kind {
	const proxyName = "service.kubernetes.io/service-proxy-name"
	ours := "!" + proxyName
	if o.ServiceProxyName != "" {
		ours = proxyName + "=" + o.ServiceProxyName
	}
	return []kind{
		{
			name: "services", typ: &corev1.Service{}, list: func() runtime.Object { return &corev1.ServiceList{} }, group: core, label: ours,
			field: "spec.clusterIP!=" + corev1.ClusterIPNone, // API servers before 1.31 do not know it
			event: func(obj runtime.Object) Event { return Event{Service: obj.(*corev1.Service)} },
			blank: func(k key) Event { return Event{Service: &corev1.Service{ObjectMeta: k.meta()}, Deleted: true} },
		},
		{
			name: "endpointslices", typ: &discoveryv1.EndpointSlice{}, list: func() runtime.Object { return &discoveryv1.EndpointSliceList{} }, group: discovery,
			label: "!" + corev1.IsHeadlessService,
			event: func(obj runtime.Object) Event { return Event{Slice: obj.(*discoveryv1.EndpointSlice)} },
			blank: func(k key) Event {
				return Event{Slice: &discoveryv1.EndpointSlice{ObjectMeta: k.meta()}, Deleted: true}
			},
		},
		{
			name: "nodes", typ: &corev1.Node{}, list: func() runtime.Object { return &corev1.NodeList{} }, group: core,
			field: fields.OneTermEqualSelector("metadata.name", o.NodeName).String(),
			event: func(obj runtime.Object) Event { return Event{Node: obj.(*corev1.Node)} },
			blank: func(k key) Event { return Event{Node: &corev1.Node{ObjectMeta: k.meta()}, Deleted: true} },
		},
	}
}

type api struct {
	options APIOptions
	backoff wait.Backoff
	servers apiServers
	trouble *trouble
	hold    *hold

	mu      sync.Mutex
	sink    Sink
	waiting map[string]bool // kinds whose first list has not come
	early   []Event         // that came before all had
	synced  bool
	timers  []*time.Timer // end with Run
}

// Run is part of Source.
func (a *api) Run(ctx context.Context, sink Sink) error {
	// What goes wrong is told by Problems, once.
	ctx = klog.NewContext(ctx, logr.Discard())
	kinds := a.begin(sink)
	var wg sync.WaitGroup
	for _, k := range kinds {
		wg.Go(func() { a.follow(ctx, k) })
	}
	wg.Wait()
	a.end()
	return nil
}

func (a *api) begin(sink Sink) []kind {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sink, a.trouble = sink, newTrouble(sink.Problems)
	a.hold = newHold(a.trouble)
	a.waiting, a.early, a.synced, a.timers = map[string]bool{}, nil, false, nil
	kinds := a.options.kinds()
	for _, k := range kinds {
		a.waiting[k.name] = true
	}
	return kinds
}

func (a *api) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.synced = true // a timer that has fired comes too late
	for _, t := range a.timers {
		t.Stop()
	}
}

func (a *api) follow(ctx context.Context, k kind) {
	b := a.backoff
	store := &versions{known: map[key]uint64{}, kind: k, api: a, slim: slimmer(a.options.Pods)}
	lw := &listerWatcher{kind: k, servers: &a.servers, slim: store.slim, field: k.field, health: &health{kind: k, trouble: a.trouble, failed: map[string]string{}}}
	cache.NewReflectorWithOptions(lw, k.typ, store, cache.ReflectorOptions{Name: k.name, Backoff: &b, Clock: impatient{ctx: ctx}}).RunWithContext(ctx)
}

// impatient is a clock on which waiting ends with ctx: some waits of a
// reflector do not look at it.
type impatient struct {
	clock.RealClock
	ctx context.Context
}

// After is part of clock.Clock.
func (c impatient) After(d time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	ctx, cancel := context.WithTimeout(c.ctx, d)
	context.AfterFunc(ctx, func() {
		cancel()
		ch <- time.Now()
	})
	return ch
}

// deliver hands events to the sink, or keeps them until all kinds are there.
func (a *api) deliver(events []Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if events = a.hold.filter(events); len(events) == 0 {
		return
	}
	if !a.synced {
		a.early = append(a.early, events...)
		return
	}
	a.sink.Events(events)
}

// listed says that all objects of a kind have been delivered.
func (a *api) listed(k kind, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k.name == "nodes" {
		a.nodeListed(n)
		if n == 0 {
			return // it may come while the others are waited for
		}
	}
	if !a.waiting[k.name] {
		return
	}
	delete(a.waiting, k.name)
	switch {
	case len(a.waiting) == 0:
		a.sync()
	case len(a.waiting) == 1 && a.waiting["nodes"]:
		a.timers = append(a.timers, time.AfterFunc(nodeWait, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.sync()
		}))
	}
}

func (a *api) nodeListed(n int) {
	const about = "own node"
	if n > 0 {
		a.trouble.solved(about)
		return
	}
	a.trouble.tell(about, problemOf("Node "+a.options.NodeName, "",
		"the API server has no Node of this name: its zone, podCIDRs and addresses are unknown. If the name is wrong, set --hostname-override"))
}

// sync delivers what came early. Only the first call counts.
func (a *api) sync() {
	if a.synced {
		return
	}
	a.synced = true
	a.sink.Events(a.early)
	a.sink.Synced()
	a.early = nil
}
