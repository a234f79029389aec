package health

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier"
)

// Config is what a Health must be told. All but NodeExpected are needed.
type Config struct {
	Families     []corev1.IPFamily      // that the node serves; one loop serves them all, so that they share one verdict
	SyncPeriod   time.Duration          // a change, or a failure, may last less than twice of it
	NodeExpected bool                   // there must be a Node object; false: without one the node is eligible
	Backlog      func() proxier.Backlog // what is not programmed yet; called from any goroutine
}

// Health is the verdict on the proxy and on the node. Its methods may be
// called from any goroutine.
type Health struct {
	config         Config
	healthz, livez *prometheus.CounterVec

	mu       sync.Mutex
	began    time.Time // start of the first round; zero: what to program is still being read
	updated  time.Time // end of the last round that was not aborted; before the first: the start
	failing  proxier.Failing
	unread   time.Time // start of the first of the aborted rounds that go on; zero: the last was not aborted
	err      error     // of the last aborted round
	ready    bool
	notReady string
	node     string // why the node is not eligible; empty: it is
}

// New returns the Health of a proxy that has done nothing yet: healthy, and
// not ready.
func New(c Config) *Health {
	h := &Health{
		config: c, updated: time.Now(), notReady: "nothing has been programmed yet",
		healthz: probes("healthz", "load balancers ask it whether this node may get traffic"),
		livez:   probes("livez", "the kubelet asks it whether the proxy must be restarted"),
	}
	h.SetNode(nil)
	return h
}

// Observe takes note of a round. It returns at once.
func (h *Health) Observe(r *proxier.Round) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began = r.Started
	}
	if r.Err != nil {
		if h.unread.IsZero() {
			h.unread = r.Started
		}
		h.err = r.Err
		if !h.ready {
			h.notReady = r.Err.Error()
		}
		return // it wrote nothing: what failed before it still does
	}
	h.updated = r.Started.Add(r.Took)
	h.failing = r.Failing
	h.unread, h.err = time.Time{}, nil
	if !h.ready {
		h.ready, h.notReady = r.NotReady == "", r.NotReady
	}
}

// toBeDeleted is the key of the taint by which the cluster autoscaler says
// that it is about to remove a node (KEP-3836).
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// SetNode says what the node's own Node object is now; nil: there is none.
func (h *Health) SetNode(n *corev1.Node) {
	why := ""
	switch {
	case n == nil && h.config.NodeExpected:
		why = "the Node object of this node is not known"
	case n == nil:
	case !n.DeletionTimestamp.IsZero():
		why = "the Node object is being deleted"
	default:
		for _, t := range n.Spec.Taints {
			if t.Key == toBeDeleted {
				why = "the Node has the taint " + toBeDeleted
			}
		}
	}
	h.mu.Lock()
	h.node = why
	h.mu.Unlock()
}

// Healthy reports whether the proxy keeps up: no change waits, no write fails
// by the node's fault and no reading of the kernel fails for twice the sync
// period or longer. Before the first round it is healthy, as kube-proxy is: to
// start it again would not make the source deliver.
func (h *Health) Healthy() bool { return h.Unhealthy() == "" }

// Unhealthy returns why the proxy does not keep up, or nothing if it does.
func (h *Health) Unhealthy() string { return h.verdict(time.Now()).reason }

// Ready returns whether everything that was there at the first sync has been
// programmed, and if not, why. Once ready, it stays so.
func (h *Health) Ready() (ready bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready {
		return true, ""
	}
	return false, cmp.Or(h.notReady, "it is not known what to program")
}

type verdict struct {
	reason  string // why the proxy is unhealthy; empty: it is healthy
	node    string // why the node is not eligible; empty: it is
	updated time.Time
}

func (h *Health) verdict(now time.Time) verdict {
	since := h.config.Backlog().Since
	h.mu.Lock()
	defer h.mu.Unlock()
	v := verdict{node: h.node, updated: h.updated}
	switch {
	case since.IsZero() || h.began.IsZero():
		since = time.Time{}
	case since.Before(h.began):
		since = h.began
	}
	late := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) >= 2*h.config.SyncPeriod }
	// The cause goes before the effect: where nothing can be read, changes wait.
	switch {
	case late(h.unread):
		v.reason = fmt.Sprintf("reading has failed for %s: %v", span(now, h.unread), h.err)
	case late(h.failing.Since):
		v.reason = fmt.Sprintf("writing has failed for %s: %s", span(now, h.failing.Since), h.failing.First)
	case late(since):
		v.reason = fmt.Sprintf("a change has been waiting for %s", span(now, since))
	}
	return v
}

func span(now, since time.Time) time.Duration { return now.Sub(since).Truncate(time.Second) }
