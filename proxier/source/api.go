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

// APIOptions configure an API source.
type APIOptions struct {
	Configs          []*rest.Config // one for each API server, tried in turn; see LoadConfigs
	NodeName         string         // the name of the Node object to follow
	ServiceProxyName string         // label service.kubernetes.io/service-proxy-name of the Services to serve; empty: those without it
	Pods             bool           // EndpointSlices keep the names of pods
}

// API returns a Source that follows the Services, the EndpointSlices and the own Node of API
// servers. It lists and watches the same objects as kube-proxy. It keeps only the names and
// versions of objects, so that a second list delivers only the changed ones.
//
// While no server answers, the last known state stays in force. If the API server lists no
// endpoints of the Service default/kubernetes, by which the node may reach it, the last ones stay
// in use. It fails if a configuration is not valid.
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

// nodeWait is how long the start waits for the Node after all other objects. Without the Node it
// can serve, but without topology hints. Tests wait less.
var nodeWait = 5 * time.Second

// backoff is the pause between tries to read from an API server. It is short at first, since most
// API servers only restart, and has jitter, since all nodes ask.
var backoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 1, Steps: 8, Cap: 20 * time.Second}

// kind is a kind of objects that the source follows.
type kind struct {
	name  string // plural, for people and requests
	typ   runtime.Object
	list  func() runtime.Object
	group groupVersion
	label string
	field string
	event func(runtime.Object) Event
	blank func(key) Event // the event of a deletion
}

// kinds returns the kinds with the selectors of kube-proxy. Only the label of the Service gives it
// to another proxy: slices that are mirrored or written by hand do not have this label, and others
// may have an old one for some time.
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
	early   []Event         // events before the first list of all kinds
	synced  bool
	timers  []*time.Timer // end with Run
}

// Run is part of Source.
func (a *api) Run(ctx context.Context, sink Sink) error {
	// Problems reports errors, each once: client-go must not log them too.
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

// impatient is a clock whose waits end with ctx, which some waits of a reflector ignore.
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

// deliver hands events to the sink, or keeps them until all kinds are listed.
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

// listed says that all n objects of a kind have been delivered.
func (a *api) listed(k kind, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k.name == "nodes" {
		a.nodeListed(n)
		if n == 0 {
			return // it may come before the other kinds
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

// sync delivers the early events, and calls Synced. Only the first call counts.
func (a *api) sync() {
	if a.synced {
		return
	}
	a.synced = true
	a.sink.Events(a.early)
	a.sink.Synced()
	a.early = nil
}
