package cluster

import (
	"cmp"
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
}

func newTallies() *tallies {
	return &tallies{checks: map[model.Key]report.HealthCheck{}, without: map[model.Key][]report.Locality{}, noLocal: map[report.Locality]int{}}
}

// tallying gives the Table views of Services, and updates what depends on renderings.
type tallying struct {
	*model.Model
	tallies *tallies
	starts  *balance.Starts
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
	t.starts.Renders(key, ok)
	return v, ok
}

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
	r.Rising = c.model.starts.Rising()
	r.NodePort, r.NodeIPs = c.settings.now.NodePortAddresses, c.facts.now.NodeIPs
	if r.Err == nil {
		r.Triggers, c.triggers.at = c.triggers.at, nil
	}
}
