package traffic

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"kube-ipvs/proxier/state"
)

// others is the service label of the series that sums up all rows without their own.
const others = "(others)"

// seriesKey names a series; endpoint is empty in those of Services.
type seriesKey struct{ namespace, service, port, endpoint string }

func (k seriesKey) compare(o seriesKey) int {
	return cmp.Or(cmp.Compare(k.endpoint, o.endpoint), cmp.Compare(k.namespace, o.namespace), cmp.Compare(k.port, o.port), cmp.Compare(k.service, o.service))
}

// series is a Service port or an endpoint of it.
type series struct {
	key    seriesKey
	labels labels
	own    bool   // it is exported under its name, not among the others
	rank   uint64 // all connections, also those that the others have counted
	total  counts // those that this series has counted

	number uint64 // of the last reading that had it
	at     time.Time
	// The last reading's values.
	delta            counts
	active, inactive uint64
	partial          bool // a row was not whole
	balance          Balance
}

// Balance is how the real servers of an endpoint, one for each frontend, take part in it.
type Balance struct {
	Weight    uint32    // the highest
	Limit     uint64    // the sum
	Standings [6]uint32 // how many stand so, by index of state.Standings
}

func (b *Balance) add(r *Row) {
	b.Weight = max(b.Weight, r.Weight)
	b.Limit += uint64(r.Upper)
	if i := slices.Index(state.Standings, r.Standing); i >= 0 {
		b.Standings[i]++
	}
}

// Standing returns the first of the standings; "": there is none.
func (b *Balance) Standing() state.Standing {
	for i, n := range b.Standings {
		if n > 0 {
			return state.Standings[i]
		}
	}
	return ""
}

// labels are the labels of one series, sorted by name: without a direction, in, and out.
// They are made once, because a scrape has thousands.
type labels struct{ plain, in, out []*dto.LabelPair }

// table has the series of a level.
type table struct {
	level   *level
	limit   int
	rows    map[seriesKey]*series
	order   []*series // those of the last reading, sorted by key: Gather, which sorts too, then has less to do
	others  series
	folded  int // number of series among the others in the last reading
	metrics struct {
		connections, packets, bytes, active, inactive, folded *prometheus.Desc
		weight, limit, standing                               *prometheus.Desc // nil: the level has none
	}
}

// level says what has series: Service ports, or their endpoints.
type level struct {
	name, what string
	labels     []string // sorted
	others     seriesKey

	connections, packets, bytes, active, inactive string // names of metrics
	weight, limit, standing                       string // empty: the level has none
}

var serviceLevel = level{
	name: "service", what: "a Service port", labels: []string{"namespace", "port", "service"}, others: seriesKey{service: others},
	connections: "kube_ipvs_service_connections_total",
	packets:     "kube_ipvs_service_packets_total",
	bytes:       "kube_ipvs_service_bytes_total",
	active:      "kube_ipvs_service_active_connections",
	inactive:    "kube_ipvs_service_inactive_connections",
}

var endpointLevel = level{
	name: "endpoint", what: "an endpoint of a Service port", labels: []string{"endpoint", "namespace", "port", "service"},
	others:      seriesKey{service: others, endpoint: others},
	connections: "kube_ipvs_endpoint_connections_total",
	packets:     "kube_ipvs_endpoint_packets_total",
	bytes:       "kube_ipvs_endpoint_bytes_total",
	active:      "kube_ipvs_endpoint_active_connections",
	inactive:    "kube_ipvs_endpoint_inactive_connections",
	weight:      "kube_ipvs_endpoint_weight",
	limit:       "kube_ipvs_endpoint_connections_limit",
	standing:    "kube_ipvs_endpoint_standing",
}

func newTable(l *level, limit int) *table {
	t := &table{level: l, limit: limit, rows: map[seriesKey]*series{}}
	directed := slices.Sorted(slices.Values(append(slices.Clone(l.labels), "direction")))
	desc := func(name, help string, labels []string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	t.metrics.connections = desc(l.connections, "Connections that IPVS gave to "+l.what+".", l.labels)
	t.metrics.packets = desc(l.packets, "Packets of "+l.what+", if IPVS carries them all.", directed)
	t.metrics.bytes = desc(l.bytes, "Bytes of "+l.what+", if IPVS carries them all.", directed)
	t.metrics.active = desc(l.active, "Established connections of "+l.what+", if IPVS carries all their packets.", l.labels)
	t.metrics.inactive = desc(l.inactive, "Connections of "+l.what+" that are not established yet or are ending, if IPVS carries all their packets.", l.labels)
	if l.weight != "" {
		t.metrics.weight = desc(l.weight, "IPVS weight of "+l.what+", the highest of its frontends.", l.labels)
		t.metrics.limit = desc(l.limit, "Connections at which IPVS gives no new ones to "+l.what+", summed over its frontends. Only where there is a limit.", l.labels)
		t.metrics.standing = desc(l.standing, "Virtual servers in which "+l.what+" takes less than its full part, by the reason.", append(slices.Clone(l.labels), "standing"))
	}
	t.metrics.folded = prometheus.NewDesc("kube_ipvs_traffic_folded_rows", "Number of series that are summed up with service \""+others+"\", since there are too many.",
		nil, prometheus.Labels{"level": l.name})
	t.others = series{key: l.others, labels: t.label(l.others)}
	return t
}

// label makes the labels of a series.
func (t *table) label(k seriesKey) labels {
	values := map[string]string{"namespace": k.namespace, "service": k.service, "port": k.port, "endpoint": k.endpoint}
	var l labels
	for _, n := range t.level.labels {
		l.plain = append(l.plain, pair(n, values[n]))
	}
	directed := func(d string) []*dto.LabelPair {
		out := append(slices.Clone(l.plain), pair("direction", d))
		slices.SortFunc(out, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
		return out
	}
	l.in, l.out = directed("in"), directed("out")
	return l
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// add adds delta, which a row has counted since the last reading.
func (t *table) add(key seriesKey, number uint64, now time.Time, delta counts, r *Row) *series {
	s := t.rows[key]
	if s == nil {
		s = &series{key: key, labels: t.label(key)}
		t.rows[key] = s
	}
	if s.number != number {
		s.number, s.at = number, now
		s.delta, s.active, s.inactive, s.partial, s.balance = counts{}, 0, 0, false, Balance{}
	}
	s.partial = s.partial || !r.Whole
	s.delta = s.delta.plus(delta)
	s.rank += delta.Connections
	s.active += r.Active
	s.inactive += r.Inactive
	s.balance.add(r)
	return s
}

// settle ends a reading: it drops series that are long gone, chooses those with series
// of their own, and adds each delta to one series.
func (t *table) settle(number uint64, now time.Time) {
	t.choose(number, now)
	t.others.active, t.others.inactive, t.others.partial, t.others.balance, t.folded = 0, 0, false, Balance{}, 0
	for _, s := range t.order {
		if s.own {
			s.total = s.total.plus(s.delta)
			continue
		}
		t.folded++
		o := &t.others
		o.total = o.total.plus(s.delta)
		o.active += s.active
		o.inactive += s.inactive
		o.partial = o.partial || s.partial
		for i, n := range s.balance.Standings {
			o.balance.Standings[i] += n
		}
	}
	t.others.own = t.others.own || t.folded > 0 // a counter stays once it was exported
	slices.SortFunc(t.order, func(a, b *series) int { return a.key.compare(b.key) })
}

// choose finds the series of a reading, and marks those that are exported under their name.
func (t *table) choose(number uint64, now time.Time) {
	t.order = t.order[:0]
	for key, s := range t.rows {
		switch {
		case s.number == number:
			t.order = append(t.order, s)
		case now.Sub(s.at) > remember:
			delete(t.rows, key)
		}
	}
	if len(t.order) > t.limit {
		// An exported series stays until another is clearly ahead: a series that comes
		// and goes is of no use.
		weight := func(s *series) uint64 {
			if s.own {
				return s.rank + s.rank/4
			}
			return s.rank
		}
		slices.SortFunc(t.order, func(a, b *series) int {
			return cmp.Or(cmp.Compare(weight(b), weight(a)), -compareBool(a.own, b.own), a.key.compare(b.key))
		})
	}
	chosen := t.order[:min(len(t.order), t.limit)]
	for _, s := range t.order[len(chosen):] {
		s.own = false
	}
	for _, s := range chosen {
		s.own = true
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (t *table) describe(ch chan<- *prometheus.Desc) {
	m := t.metrics
	for _, d := range []*prometheus.Desc{m.connections, m.packets, m.bytes, m.active, m.inactive, m.folded, m.weight, m.limit, m.standing} {
		if d != nil {
			ch <- d
		}
	}
}

func (t *table) collect(ch chan<- prometheus.Metric) {
	out := make([]sample, 0, 7*min(len(t.order), t.limit)+8)
	for _, s := range t.order {
		if s.own {
			out = t.samples(out, s)
		}
	}
	if t.others.own {
		out = t.samples(out, &t.others)
	}
	out = append(out, sample{t.metrics.folded, []*dto.LabelPair{pair("level", t.level.name)}, float64(t.folded), true})
	for i := range out {
		ch <- &out[i]
	}
}

func (t *table) samples(to []sample, s *series) []sample {
	m := &t.metrics
	to = append(to, sample{m.connections, s.labels.plain, float64(s.total.Connections), false})
	if m.weight != nil {
		to = t.balanceSamples(to, s)
	}
	if s.partial {
		return to
	}
	return append(to,
		sample{m.packets, s.labels.in, float64(s.total.PacketsIn), false},
		sample{m.packets, s.labels.out, float64(s.total.PacketsOut), false},
		sample{m.bytes, s.labels.in, float64(s.total.BytesIn), false},
		sample{m.bytes, s.labels.out, float64(s.total.BytesOut), false},
		sample{m.active, s.labels.plain, float64(s.active), true},
		sample{m.inactive, s.labels.plain, float64(s.inactive), true},
	)
}

// balanceSamples appends the samples of an endpoint's balance. The others have no weight and
// no limit.
func (t *table) balanceSamples(to []sample, s *series) []sample {
	m := &t.metrics
	if s != &t.others {
		to = append(to, sample{m.weight, s.labels.plain, float64(s.balance.Weight), true})
	}
	if s != &t.others && s.balance.Limit > 0 {
		to = append(to, sample{m.limit, s.labels.plain, float64(s.balance.Limit), true})
	}
	for i, n := range s.balance.Standings {
		if n > 0 { // few have one, so that its labels are not kept
			standing := append(slices.Clone(s.labels.plain), pair("standing", string(state.Standings[i])))
			slices.SortFunc(standing, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
			to = append(to, sample{m.standing, standing, float64(n), true})
		}
	}
	return to
}

// sample is a metric with labels made before: the client library would make them
// anew at each scrape.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	value  float64
	gauge  bool
}

// Desc is part of prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write is part of prometheus.Metric.
func (s *sample) Write(to *dto.Metric) error {
	to.Label = s.labels
	if s.gauge {
		to.Gauge = &dto.Gauge{Value: &s.value}
	} else {
		to.Counter = &dto.Counter{Value: &s.value}
	}
	return nil
}
