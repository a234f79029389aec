package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/balance"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// tallies are counts over all Services. Rendering updates them.
type tallies struct {
	checks  map[model.Key]report.HealthCheck
	sorted  []report.HealthCheck // of checks; nil: they have changed
	without map[model.Key][]report.Locality
	noLocal map[report.Locality]int
	reduced reductions
}

func newTallies() *tallies {
	return &tallies{checks: map[model.Key]report.HealthCheck{}, without: map[model.Key][]report.Locality{}, noLocal: map[report.Locality]int{}, reduced: reductions{of: map[model.Key]state.Reduced{}}}
}

// tallying gives the Table views of Services, and updates what depends on renderings.
type tallying struct {
	*model.Model
	tallies *tallies
	starts  *balance.Starts
	ejects  Ejects // may be nil
	limits  *limits
}

var _ desired.Views = tallying{}

// View is part of desired.Views.
func (t tallying) View(key model.Key) (model.View, bool) {
	v, ok := t.Model.View(key)
	var check report.HealthCheck
	var without []report.Locality
	if ok {
		check = report.HealthCheck{Key: key, Port: v.HealthCheckPort, Local: v.LocalReady, UID: v.UID}
		without = withoutLocal(v)
	}
	t.tallies.set(key, check, without)
	t.tallies.reduced.forget(key)
	if t.limits.of[key] != nil && (!ok || v.Balance.MaxConnections == 0) {
		t.limits.forget(key)
	}
	t.starts.Renders(key, ok)
	if t.ejects != nil {
		after := time.Duration(0)
		if ok {
			after = v.Balance.EjectAfter
		}
		t.ejects.Renders(key, after)
	}
	return v, ok
}

// weights returns the weights of a virtual server's endpoints, of a Service with weights or
// slow start, and notes which are reduced. given are those by the Service; nil: all are equal.
func (t tallying) weights(s *model.Service, scheduler string, server state.ID, endpoints []netip.AddrPort, given []uint32) []uint32 {
	weights := given
	if s.Balance.SlowStart > 0 {
		weights = t.starts.Weights(s, scheduler, server, endpoints, given)
	}
	for i, e := range endpoints {
		switch real := state.RealServerID(server, e); {
		case given != nil && given[i] == 0:
			t.tallies.reduced.add(s.Key, real, state.ZeroWeight)
		case s.Balance.SlowStart > 0 && t.starts.Rises(s.Key, real):
			t.tallies.reduced.add(s.Key, real, state.SlowStart)
		}
	}
	return weights
}

// ejected returns which endpoints of a virtual server are ejected, and notes them.
func (t tallying) ejected(s *model.Service, server state.ID, endpoints []netip.AddrPort, weights []uint32) []bool {
	out := t.ejects.Ejected(s, server, endpoints, weights)
	for i := range out {
		if out[i] {
			t.tallies.reduced.add(s.Key, state.RealServerID(server, endpoints[i]), state.Ejected)
		}
	}
	return out
}

// Reduced returns the reduced real servers of all Services, never nil. Callers must not change
// it. Safe from any goroutine.
func (c *Cluster) Reduced() state.Reduced { return c.model.tallies.reduced.list() }

func (t *tallies) set(key model.Key, check report.HealthCheck, without []report.Locality) {
	if old, had := t.checks[key]; check.Port == 0 && had {
		delete(t.checks, key)
		t.sorted = nil
	} else if check.Port != 0 && old != check {
		t.checks[key] = check
		t.sorted = nil
	}
	for _, l := range t.without[key] {
		t.noLocal[l]--
	}
	for _, l := range without {
		t.noLocal[l]++
	}
	if len(without) == 0 {
		delete(t.without, key)
	} else {
		t.without[key] = without
	}
}

// sum returns copies, for a Round.
func (t *tallies) sum() ([]report.HealthCheck, map[report.Locality]int) {
	if t.sorted == nil && len(t.checks) > 0 {
		for _, c := range t.checks {
			t.sorted = append(t.sorted, c)
		}
		slices.SortFunc(t.sorted, func(a, b report.HealthCheck) int {
			return cmp.Or(cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.Name, b.Key.Name))
		})
	}
	noLocal := make(map[report.Locality]int, len(t.noLocal))
	for l, n := range t.noLocal {
		noLocal[l] = n
	}
	return t.sorted, noLocal
}

// withoutLocal returns the policies Local of a Service that leave none of its endpoints.
func withoutLocal(v model.View) []report.Locality {
	var out []report.Locality
	for _, family := range state.Families(true) {
		if !slices.ContainsFunc(v.Endpoints[family], func(e model.Endpoints) bool { return e.Any && len(e.Local) == 0 }) {
			continue
		}
		if v.InternalLocal {
			out = append(out, report.Locality{Policy: "internal", Family: family})
		}
		if v.ExternalLocal {
			out = append(out, report.Locality{Policy: "external", Family: family})
		}
	}
	return out
}

// mostTriggers bounds the trigger times that wait for a round, since rounds may be aborted for
// hours while slices change.
const mostTriggers = 10_000

// triggers are the times of changes that no round has programmed yet.
type triggers struct {
	began time.Time // of the process
	at    []time.Time
}

// note notes the trigger time of this version of a slice, by this process's monotonic clock.
// The clock of the other machine may be wrong: a time in the future counts as now, and a time
// before this process began does not count.
func (t *triggers) note(s *discoveryv1.EndpointSlice) {
	text := s.Annotations[corev1.EndpointsLastChangeTriggerTime]
	if text == "" || len(t.at) == mostTriggers {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	now := time.Now()
	if ago := max(now.Sub(at), 0); err == nil && ago < now.Sub(t.began) {
		t.at = append(t.at, now.Add(-ago))
	}
}

// Report puts into a round what the source has delivered, and the addresses of the node. The
// trigger times of changes are in the first round that writes.
func (c *Cluster) Report(r *report.Round) {
	r.Known.Services, r.Known.Slices = c.model.Size()
	r.Checks, r.NoLocal = c.model.tallies.sum()
	r.Reduced = c.Reduced
	r.NodePort, r.NodeIPs = c.settings.now.NodePortAddresses, c.facts.now.NodeIPs
	if r.Err == nil {
		r.Triggers, c.triggers.at = c.triggers.at, nil
	}
}
