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
	"kube-ipvs/proxier/state"
)

// Config configures a Health. Each field but NodeExpected must be set. Any goroutine may call
// the functions.
type Config struct {
	Families     []state.Family        // families that the node serves; one loop serves them all, so that they share one verdict
	SyncPeriod   time.Duration         // changes may wait, and the loop may be stuck, for less than twice this time
	NodeExpected bool                  // the node is eligible only with a Node object; false: without one too
	Backlog      func() report.Backlog // changes that are not programmed yet
	Stuck        func() time.Duration  // time that the loop has spent on its present piece of work
}

// Health is the verdict on the proxy and on the node. Any goroutine may call its methods.
type Health struct {
	config         Config
	healthz, livez *prometheus.CounterVec

	mu       sync.Mutex
	began    time.Time // start of the first round; zero: the source is still being read
	updated  time.Time // end of the last round that was not aborted; before the first: the start
	unread   error     // why the loop cannot read the kernel; nil: it can
	ready    bool
	notReady string
	node     string // why the node is not eligible; empty: it is
}

// New returns the Health of a proxy without a round: healthy and not ready.
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

// Observe takes in a round. It does not block.
func (h *Health) Observe(r *report.Round) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began = r.Started
	}
	if h.unread = r.Unread; r.Err == nil {
		h.updated = r.Started.Add(r.Took)
	}
	if !h.ready {
		h.ready, h.notReady = r.NotReady == "", r.NotReady
	}
}

// toBeDeleted is the key of the taint that the cluster autoscaler sets before it removes a
// node (KEP-3836).
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// SetNode sets the present Node object of this node; nil: there is none.
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

// Healthy reports whether the proxy keeps up: no change has waited for twice the sync period
// without any progress. A failing write does not count: all other objects work, and load
// balancers would lose the node for one object. Before the first round the proxy is healthy,
// as kube-proxy is, since a restart would not make the source deliver.
func (h *Health) Healthy() bool { return h.Unhealthy() == "" }

// Unhealthy returns why the proxy does not keep up; "": it does.
func (h *Health) Unhealthy() string { return h.verdict(time.Now()).reason }

// Ready reports whether all objects of the first sync that can be programmed are, and why
// not. Once ready, it stays so.
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
	stuck   string // why the proxy must be restarted; empty: it need not
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
	// Long work that makes progress keeps up.
	since := latest(waits, h.began, h.updated)
	if now.Sub(since) < h.late() {
		return v
	}
	v.reason = fmt.Sprintf("changes have been waiting for %s, and none was programmed", now.Sub(since).Truncate(time.Second))
	if h.unread != nil {
		v.reason += ": " + h.unread.Error()
	}
	return v
}

// late returns how long a change may wait, and the loop may stand still.
func (h *Health) late() time.Duration { return 2 * h.config.SyncPeriod }

// stuckLeast is the time that the loop may stand still with any sync period: longer than one
// process or message to the kernel may take.
const stuckLeast = time.Minute

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
