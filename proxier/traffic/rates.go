package traffic

import (
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Rate is the traffic of a Service, or of an endpoint of one, between two readings, summed over
// virtual servers.
type Rate struct {
	model.Key
	Endpoint    string  // as Row.Endpoint
	Balance             // of an endpoint
	Connections uint64  // all connections that IPVS has given to endpoints since the virtual servers were made
	New         float64 // new connections a second
	// Whole says that the fields below are known in full, as Row.Whole. Otherwise they
	// are 0, since they would be too low.
	Whole                                    bool
	Active, Inactive                         uint64  // connections
	PacketsIn, PacketsOut, BytesIn, BytesOut float64 // a second
}

// Rates turns readings into rates. The zero Rates is ready for the first reading.
type Rates struct {
	last map[state.ID]counts
	at   time.Time
}

// Take returns the rates since the last reading, in no order; nil for the first
// reading. The rows are those of virtual servers, or of real servers, each with its Of.
func (m *Rates) Take(rows []Row, now time.Time) []Rate {
	first, seconds := m.last == nil, now.Sub(m.at).Seconds()
	if first {
		m.last = map[state.ID]counts{}
	}
	m.at = now
	sums := map[seriesKey]*sum{}
	seen := map[state.ID]bool{}
	var order []seriesKey
	for i := range rows {
		r := &rows[i]
		if seen[r.Of] {
			continue
		}
		seen[r.Of] = true
		have, delta := m.last[r.Of].since(r)
		m.last[r.Of] = have
		key := seriesKey{namespace: r.Namespace, service: r.Name, endpoint: r.Endpoint}
		if sums[key] == nil {
			sums[key] = &sum{whole: true}
			order = append(order, key)
		}
		sums[key].add(r, delta)
	}
	if first || seconds <= 0 {
		return nil
	}
	out := make([]Rate, 0, len(order))
	for _, key := range order {
		rate := sums[key].rate(seconds)
		rate.Key, rate.Endpoint = model.Key{Namespace: key.namespace, Name: key.service}, key.endpoint
		out = append(out, rate)
	}
	return out
}

// sum adds up the rows of a Service.
type sum struct {
	whole                         bool
	connections, active, inactive uint64
	delta                         counts
	balance                       Balance
}

func (s *sum) add(r *Row, delta counts) {
	s.whole = s.whole && r.Whole
	s.connections += r.Connections
	s.active += r.Active
	s.inactive += r.Inactive
	s.delta = s.delta.plus(delta)
	s.balance.add(r)
}

func (s *sum) rate(seconds float64) Rate {
	per := func(n uint64) float64 { return float64(n) / seconds }
	r := Rate{Balance: s.balance, Connections: s.connections, New: per(s.delta.Connections), Whole: s.whole}
	if s.whole {
		r.Active, r.Inactive = s.active, s.inactive
		r.PacketsIn, r.PacketsOut = per(s.delta.PacketsIn), per(s.delta.PacketsOut)
		r.BytesIn, r.BytesOut = per(s.delta.BytesIn), per(s.delta.BytesOut)
	}
	return r
}
