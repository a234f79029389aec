// Package balance raises the weights of new endpoints (slow start). It decides, and reads and
// writes nothing: the weights are part of the desired objects, and the kernel keeps the state,
// so that a restart goes on where the process was.
package balance

import (
	"hash/fnv"
	"math"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/state"
)

// Steps is in how many steps a weight rises to its full value, if they take leastStep or more.
const Steps = 20

// leastStep bounds what a Service costs: each step renders it.
const leastStep = 500 * time.Millisecond

// idle times the duration of a step of a Service passes before its next one: a Service may
// have thousands of virtual servers to read.
const idle = 20

// mostStep is the longest step where endpoints have limits of connections: when the others are at
// theirs, a new endpoint must not wait.
const mostStep = 2 * time.Second

// step returns the time between two steps.
func step(b *model.Balance) time.Duration {
	d := max(b.SlowStart/Steps, leastStep)
	if b.MaxConnections > 0 {
		return min(d, mostStep)
	}
	return d
}

// fine is the full weight behind a scheduler that counts connections. It picks the endpoint
// with the fewest for its weight: a weight says how many connections an endpoint may have,
// and coarse ones would let it have too many.
const fine = 1000

// Counts reports whether a scheduler chooses by the number of connections, so that an endpoint
// without any would get all new ones: with slow start it begins with weight 0.
func Counts(scheduler string) bool {
	switch scheduler {
	case "wlc", "sed", "nq", "lblc", "lblcr", "twos":
		return true
	}
	return false
}

// Starts has the endpoints whose weights rise. Only one goroutine may use it.
type Starts struct {
	node   string
	of     map[model.Key]*service
	rising map[model.Key]*service // those of them with next
	next   time.Time              // the first of theirs, or before it; zero: there are none
	actual *state.State
}

// service has the endpoints of one Service whose weights rise.
type service struct {
	rendering int       // counts the renderings
	next      time.Time // when rise has to be called; zero: never
	reals     map[state.ID]*start
	servers   map[state.ID]*server // at the last step, those whose scheduler counts
}

// start is an endpoint whose weight rises.
type start struct {
	rendered int // the rendering that has used it last
	began    time.Time
	during   time.Duration
	step     time.Duration
	full     uint32
	counts   bool
	sticky   bool   // clients stay with it: session affinity
	weight   uint32 // as it is now
	steady   int    // steps for which the weight has been full, or no connection has come
	done     bool   // the weight stays full

	// Behind a scheduler that counts:
	looked bool       // first and load are known
	first  uint64     // connections that had begun at the first step
	load   state.Load // at the last step
	got    float64    // connections since the first step
	credit float64    // connections that it may get more than it has
}

// New returns Starts of a node.
func New(node string) *Starts {
	return &Starts{node: node, of: map[model.Key]*service{}, rising: map[model.Key]*service{}}
}

// Follow says which objects the kernel has, for renderings; nil: no weight begins to rise.
func (s *Starts) Follow(actual *state.State) { s.actual = actual }

// Renders says that a Service is rendered now, or that it has gone. Endpoints of it that
// Weights does not get until the next time are forgotten.
func (s *Starts) Renders(key model.Key, exists bool) {
	if of := s.of[key]; !exists {
		delete(s.of, key)
		delete(s.rising, key)
	} else if of != nil {
		of.rendering++
	}
}

// Weights returns the weights of a virtual server's endpoints, of a Service with slow start.
// given are those by the Service; nil: all are equal. A weight rises if the endpoint is new to
// the virtual server, which serves others already, or if it had risen in part before a
// restart, and others more than it. The others get at most twice their share: in a rolling
// update all endpoints may soon be new.
func (s *Starts) Weights(v *model.Service, scheduler string, server state.ID, endpoints []netip.AddrPort, given []uint32) []uint32 {
	of := s.of[v.Key]
	if of == nil {
		of = &service{reals: map[state.ID]*start{}}
		s.of[v.Key] = of
	}
	out, had := s.given(scheduler, server, endpoints, given)
	settled, all := 0.0, 0.0
	rising := make([]*start, len(endpoints))
	for i, e := range endpoints {
		if out[i] == 0 {
			continue
		}
		real := state.RealServerID(server, e)
		one := of.reals[real]
		if weight, begins := s.first(of, had, i, scheduler, out[i]); one == nil && begins {
			one = &start{began: time.Now().Add(-v.Balance.SlowStart * time.Duration(weight) / time.Duration(out[i])), full: out[i], weight: weight}
			of.reals[real] = one
			s.rising[v.Key], of.next = of, pace.Earliest(of.next, firstStep(v.Balance))
			s.next = pace.Earliest(s.next, of.next)
		}
		if all += float64(out[i]); one == nil {
			settled += float64(out[i])
			continue
		}
		one.use(of.rendering, v, Counts(scheduler), out[i])
		rising[i] = one
	}
	least := max(0, (all/2-settled)/(all-settled))
	for i, one := range rising {
		if one != nil {
			out[i] = max(one.weight, uint32(math.Ceil(least*float64(one.full))))
		}
	}
	return out
}

// firstStep returns when the first step of a new endpoint comes: at once where there are limits of
// connections, since the others may be at theirs.
func firstStep(b *model.Balance) time.Time {
	if b.MaxConnections > 0 {
		return time.Now()
	}
	return time.Now().Add(step(b))
}

// Rises reports whether an endpoint that Weights got has less than its full weight.
func (s *Starts) Rises(key model.Key, real state.ID) bool {
	of := s.of[key]
	if of == nil || of.reals[real] == nil {
		return false
	}
	return of.reals[real].weight < of.reals[real].full
}

// kernel is what the kernel has of a virtual server.
type kernel struct {
	weights []uint32 // by endpoint, 0 for those that it lacks
	most    float64  // the largest part of its full weight that an endpoint has; 0: none has a weight
}

// given returns the full weights of a virtual server's endpoints, and what the kernel has.
func (s *Starts) given(scheduler string, server state.ID, endpoints []netip.AddrPort, given []uint32) (full []uint32, had kernel) {
	full, had.weights = make([]uint32, len(endpoints)), make([]uint32, len(endpoints))
	scale := scaleOf(scheduler, given)
	for i, e := range endpoints {
		full[i] = scale
		if given != nil {
			full[i] *= given[i]
		}
		if s.actual == nil {
			continue
		}
		if spec, ok := s.actual.Get(state.RealServerID(server, e)); ok {
			had.weights[i] = spec.Value().ServingWeight()
		}
		if full[i] > 0 {
			had.most = max(had.most, float64(had.weights[i])/float64(full[i]))
		}
	}
	return full, had
}

// first returns the weight with which an endpoint begins, and false if that is full. If the
// process renders the Service for the first time, an endpoint that has a smaller part of its full
// weight than another had risen in part. The largest part counts as full: in a rolling update all
// endpoints may rise, and if there was no slow start, all parts are equal. So the endpoints keep
// their shares, whatever the weights in the kernel were made of.
func (s *Starts) first(of *service, had kernel, i int, scheduler string, full uint32) (uint32, bool) {
	switch weight := had.weights[i]; {
	case had.most == 0:
		return full, false
	case weight > 0:
		part := float64(weight) / float64(full)
		return uint32(math.Round(float64(weight) / had.most)), part < had.most && of.rendering == 0
	case Counts(scheduler):
		return 0, true // with any weight it would get a connection at once, on all nodes
	}
	return max(1, full/Steps), true
}

// use says that a rendering uses an endpoint, and follows the Service.
func (one *start) use(rendering int, v *model.Service, counts bool, full uint32) {
	if one.full != full {
		one.weight, one.full = uint32(uint64(one.weight)*uint64(full)/uint64(one.full)), full
	}
	one.rendered, one.during, one.step, one.counts, one.sticky = rendering, v.Balance.SlowStart, step(v.Balance), counts, v.Affinity > 0
}

// scaleOf returns the factor of all weights of a virtual server, by which they can rise in
// small steps.
func scaleOf(scheduler string, given []uint32) uint32 {
	full, heaviest := uint32(Steps), uint32(1)
	if Counts(scheduler) {
		full = fine
	}
	if given != nil {
		heaviest = max(1, slices.Max(given))
	}
	return (full + heaviest - 1) / heaviest
}

// Next returns when Rise has to be called; zero: never.
func (s *Starts) Next() time.Time { return s.next }

// Rise raises weights once it is time, and returns the Services that must be rendered anew.
// read returns the real servers of a virtual server; after an error their weights stay.
func (s *Starts) Rise(read func(server state.ID) ([]state.Load, error)) []model.Key {
	if !pace.Due(s.next) {
		return nil
	}
	var keys []model.Key
	s.next = time.Time{}
	for key, of := range s.rising {
		if pace.Due(of.next) {
			keys = append(keys, key)
			began := time.Now()
			if of.rise(s.offset, read); of.next.IsZero() {
				delete(s.rising, key)
				continue
			}
			of.next = pace.Later(of.next, time.Now().Add(idle*time.Since(began)))
		}
		s.next = pace.Earliest(s.next, of.next)
	}
	return keys
}

// rise raises the weights of a Service's endpoints. It forgets those that were done before:
// their full weight has been rendered.
func (of *service) rise(offset func(state.ID) float64, read func(state.ID) ([]state.Load, error)) {
	servers := map[state.ID]*server{}
	for real, one := range of.reals {
		if one.rendered != of.rendering || one.done {
			delete(of.reals, real)
			continue
		}
		var at *server
		if one.counts {
			if at = servers[real.Server()]; at == nil {
				at = of.look(real.Server(), one.step, read)
				servers[real.Server()] = at
			}
			if _, there := at.reals[real]; !there {
				continue // unread, or not written yet
			}
		}
		one.rise(time.Now(), at.load(real), at.mean(one.full), offset(real))
	}
	of.servers, of.next = servers, time.Time{}
	for _, one := range of.reals {
		of.next = pace.Earliest(of.next, time.Now().Add(one.step))
	}
}

// server is a virtual server whose scheduler counts connections, at a step.
type server struct {
	reals             map[state.ID]state.Load // nil: they could not be read
	began             []uint64                // sums over all, at the steps of the last publish, the latest last
	arrivals          float64                 // in a step, by the mean of those steps
	stale             int                     // steps until the kernel has published what began before the first one
	weights, overhead float64                 // sums over those whose weight is full
	free              bool                    // one of those may have more connections
}

// publish is how often the kernel publishes what has begun (ip_vs_est.c): a step that sees
// it would otherwise take the connections of several steps for its own.
const publish = 2 * time.Second

// look reads a virtual server, at a step of the given length.
func (of *service) look(id state.ID, step time.Duration, read func(state.ID) ([]state.Load, error)) *server {
	reals, err := read(id)
	if err != nil {
		return &server{}
	}
	at := &server{reals: map[state.ID]state.Load{}}
	began := uint64(0)
	for _, r := range reals {
		at.reals[r.Real] = r
		began += r.Began
		if of.reals[r.Real] == nil && r.Weight > 0 {
			at.weights += float64(state.Spec{Weight: r.Weight, Upper: r.Upper}.ServingWeight())
			at.overhead += r.Overhead()
			at.free = at.free || r.Upper == 0 || r.Active+r.Inactive < r.Upper
		}
	}
	steps := int((publish + step - 1) / step)
	last := of.servers[id]
	if last == nil || last.reals == nil {
		at.stale = steps
		return at
	}
	if at.stale = max(0, last.stale-1); at.stale > 0 {
		return at
	}
	at.began = last.began[max(0, len(last.began)-steps):]
	if len(at.began) > 0 && began > at.began[0] {
		at.arrivals = float64(began-at.began[0]) / float64(steps)
	}
	at.began = append(slices.Clone(at.began), began)
	return at
}

func (at *server) load(real state.ID) state.Load {
	if at == nil {
		return state.Load{}
	}
	return at.reals[real]
}

// mean returns what the others do for a full weight.
func (at *server) mean(full uint32) mean {
	if at == nil || at.weights == 0 {
		return mean{}
	}
	n := at.weights / float64(full)
	return mean{at.overhead / n, at.arrivals / (n + 1), !at.free}
}

// offset is a number in [0, 1) that differs by node and endpoint. It rounds: nodes with few
// connections each would otherwise all give the first of them to a new endpoint at once.
func (s *Starts) offset(real state.ID) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.node + real.String())) // never fails
	return float64(h.Sum64()>>11) / (1 << 53)
}

// part returns how much of its weight an endpoint has by the time that has passed.
func (one *start) part(now time.Time) float64 {
	return min(1, float64(now.Sub(one.began))/float64(one.during))
}

// share is how many of the new connections a new endpoint gets at most, by the mean of all.
const share = 1.1

// mean is what the other real servers of a virtual server do, for the full weight of one.
type mean struct {
	overhead, arrivals float64
	full               bool // all are at their limits of connections
}

// rise sets the weight of a step. Behind a scheduler that counts, the endpoint may have its
// part of the mean, and gets share of the arrivals. It is done once it has had its full weight
// for a while, and so gets no more of the new connections than the others. While all others are at
// their limits it has its full weight, since the kernel would refuse clients. Without counts the
// weight rises with time alone.
func (one *start) rise(now time.Time, load state.Load, others mean, offset float64) {
	part := one.part(now)
	if !one.counts || others.overhead <= 0 {
		one.weight = max(1, uint32(part*float64(one.full)))
		one.done = part >= 1
		return
	}
	if !one.looked || load.Began < one.first { // at the first step, or its counters were reset
		one.got = 0
		one.looked, one.first, one.load, one.credit = true, load.Began, load, offset-0.5
	}
	// What has begun is published late; what is active now shows it before, but for those that have ended.
	got := max(one.got+max(0, float64(load.Active)-float64(one.load.Active)), float64(load.Began-one.first))
	// What it got too much counts for two seconds: clients that stay with it ask no scheduler.
	owed := -share * others.arrivals * float64(publish) / float64(one.step)
	one.credit = max(min(one.credit-(got-one.got), 1), owed) + share*others.arrivals
	one.got, one.load = got, load
	more := math.Floor(part*others.overhead+offset) - float64(load.Active)
	if part >= 1 {
		more = max(more, 1) // the scheduler itself sees to it that it has no more than the others
	}
	credit := math.Floor(one.credit)
	if one.weight = 0; more > 0 && credit > 0 {
		ended := others.arrivals * float64(load.Active) / others.overhead // in a step, which makes room for new ones
		more = min(more, credit-math.Floor(ended))
		one.weight = uint32(min(1, max(0, load.Overhead()+more)/others.overhead) * float64(one.full))
	}
	switch {
	case others.full:
		one.weight = one.full
	case one.sticky && load.Active > 0:
		one.weight = max(one.weight, 1) // weight 0 would send its clients elsewhere (expire_quiescent_template)
	}
	if one.steady++; part < 1 || one.weight < one.full && others.arrivals > 0 {
		one.steady = 0
	}
	if one.done = one.steady == Steps/2; one.done {
		one.weight = one.full
	}
}
