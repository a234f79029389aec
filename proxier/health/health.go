package health

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/report"
)

// Config is what a Health must be told. All but NodeExpected are needed.
type Config struct {
	Families     []corev1.IPFamily     // that the node serves; one loop serves them all, so that they share one verdict
	SyncPeriod   time.Duration         // changes may wait, and the loop may be stuck, for less than twice of it
	NodeExpected bool                  // there must be a Node object; false: without one the node is eligible
	Backlog      func() report.Backlog // what is not programmed yet; called from any goroutine
	Stuck        func() time.Duration  // for how long the loop has been at one piece of its work; called from any goroutine
}

// Health is the verdict on the proxy and on the node. Its methods may be
// called from any goroutine.
type Health struct {
	config         Config
	healthz, livez *prometheus.CounterVec

	mu       sync.Mutex
	began    time.Time // start of the first round; zero: what to program is still being read
	updated  time.Time // end of the last round that was not aborted; before the first: the start
	err      error     // of the last round; nil: it was not aborted
	ready    bool
	notReady string
	node     string // why the node is not eligible; empty: it is
}

// New returns the Health of a proxy that has done nothing yet: healthy, and
// not ready.
func New(c Config) *Health {
	h := &Health{
		config: c, updated: time.Now(), notReady: "nothing has been programmed yet",
		healthz: answers("kubeproxy_proxy_healthz_total", "Answers of /healthz on the healthz address, by HTTP status; load balancers ask it whether this node may get traffic."),
		livez:   answers("kubeproxy_proxy_livez_total", "Answers of /livez on the healthz address, by HTTP status; the kubelet asks it whether the proxy must be restarted."),
	}
	h.SetNode(nil)
	return h
}

// Answers returns the counters of the answers of /healthz and /livez.
func (h *Health) Answers() []prometheus.Collector { return []prometheus.Collector{h.healthz, h.livez} }

// Observe takes note of a round. It returns at once.
func (h *Health) Observe(r *report.Round) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began = r.Started
	}
	why := r.NotReady
	if h.err = r.Err; r.Err == nil {
		h.updated = r.Started.Add(r.Took)
	} else {
		why = r.Err.Error()
	}
	if !h.ready {
		h.ready, h.notReady = why == "", why
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

// Healthy reports whether the proxy keeps up: no change has waited for twice the
// sync period while nothing was programmed. A write that fails is not that: what
// is programmed goes on, and load balancers would lose the node for one object.
// Before the first round it is healthy, as kube-proxy is: to start it again would
// not make the source deliver.
func (h *Health) Healthy() bool { return h.Unhealthy() == "" }

// Unhealthy returns why the proxy does not keep up, or nothing if it does.
func (h *Health) Unhealthy() string { return h.verdict(time.Now()).reason }

// Ready returns whether everything that was there at the first sync and can be
// programmed is programmed, and if not, why. Once ready, it stays so.
func (h *Health) Ready() (ready bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready {
		return true, ""
	}
	return false, cmp.Or(h.notReady, "it is not known what to program")
}

type verdict struct {
	reason  string // why the proxy does not keep up; empty: it does
	stuck   string // why the proxy must be started again; empty: it need not
	node    string // why the node is not eligible; empty: it is
	updated time.Time
}

func (h *Health) verdict(now time.Time) verdict {
	waits, stuck := h.config.Backlog().Since, h.config.Stuck()
	h.mu.Lock()
	defer h.mu.Unlock()
	v := verdict{node: h.node, updated: h.updated}
	if stuck >= max(h.late(), stuckLeast) {
		v.stuck = fmt.Sprintf("the loop has not moved for %s", stuck.Truncate(time.Second))
	}
	if waits.IsZero() || h.began.IsZero() {
		return v
	}
	// What takes long and makes progress keeps up.
	since := latest(waits, h.began, h.updated)
	if now.Sub(since) < h.late() {
		return v
	}
	v.reason = fmt.Sprintf("changes have been waiting for %s, and none was programmed", now.Sub(since).Truncate(time.Second))
	if h.err != nil {
		v.reason += ": " + h.err.Error()
	}
	return v
}

// late is how long a change may wait, and the loop may stand still.
func (h *Health) late() time.Duration { return 2 * h.config.SyncPeriod }

// stuckLeast is the least time that a loop may stand still: longer than any one
// process or message to the kernel may take, however short the sync period is.
const stuckLeast = time.Minute

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
