package eject

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// reserve is the part of eject-after that is not for waiting: the readings until a
	// connection is seen first, and the probe.
	reserve = 2 * time.Second
	// fewest is how many connections without an answer make an endpoint suspect.
	fewest = 2
	// mostWaiting bounds endpoint.waiting, which each of a tenant's Services may have of an
	// endpoint. While there are more, further connections to the endpoint are not seen.
	mostWaiting = 32
	// answerable is the age up to which a connection that waits no more is taken for answered.
	// Later, conntrack may have forgotten it.
	answerable = 10 * time.Second
)

// endpoint is an endpoint of a Service with eject-after.
type endpoint struct {
	of       *service
	at       netip.AddrPort
	rendered int                 // the rendering that has used it last
	waiting  map[uint32]*waiting // connections without an answer
	alive    time.Time           // when it was last known to answer: connections seen until then do not count
	probing  bool                // a probe is under way
	reached  bool                // it has accepted a connection of the node
	futile   int                 // how often it has answered a probe, though it was suspect
	forgiven time.Time           // when futile no longer counts
	calm     time.Time           // until then it is not suspect

	ejected  time.Time // zero: it serves
	probe    time.Time // the next probe while it is ejected, or was never reached
	pause    time.Duration
	returned time.Time // the end of its last ejection
}

// waiting is a connection to an endpoint that waits for an answer.
type waiting struct {
	since time.Time // the first reading that has seen it
	seen  bool      // by the reading under way
}

func (e *endpoint) isEjected() bool { return !e.ejected.IsZero() }

// note notes a connection without an answer that a reading sees.
func (e *endpoint) note(number uint32, now time.Time) {
	c := e.waiting[number]
	switch {
	case c != nil:
		c.seen = true
	case len(e.waiting) < mostWaiting:
		if e.waiting == nil {
			e.waiting = map[uint32]*waiting{}
		}
		e.waiting[number] = &waiting{since: now, seen: true}
	}
}

// settle ends a reading that began at now.
func (e *endpoint) settle(now time.Time) {
	for number, c := range e.waiting {
		if !c.seen {
			if now.Sub(c.since) < answerable {
				e.alive = now
			}
			delete(e.waiting, number)
		}
		c.seen = false
	}
}

// isSuspect reports whether connections to it have waited in vain for so long that a probe must
// decide.
func (e *endpoint) isSuspect(now time.Time, after time.Duration) bool {
	if e.isEjected() || now.Before(e.calm) {
		return false
	}
	n, oldest := 0, now
	for _, c := range e.waiting {
		if c.since.After(e.alive) {
			n++
			if c.since.Before(oldest) {
				oldest = c.since
			}
		}
	}
	return n >= fewest && now.Sub(oldest) >= after-reserve
}

const (
	// forgiving is how long an endpoint's past counts.
	forgiving = time.Minute
	// fewFutile is how many futile probes within forgiving cost an endpoint nothing. Then
	// probes pause: a policy may refuse it the packets of some clients.
	fewFutile = 3
	// firstPause and lastPause are the pauses between probes.
	firstPause = time.Second
	lastPause  = 15 * time.Second
)

// answers notes that a suspect endpoint answers.
func (e *endpoint) answers(now time.Time) {
	if now.After(e.forgiven) {
		e.futile = 0
	}
	e.alive, e.forgiven = now, now.Add(forgiving)
	if e.futile++; e.futile > fewFutile {
		e.calm = now.Add(min(lastPause, time.Duration(e.futile-fewFutile)*firstPause))
	}
}

// longer returns the pause after a further probe in vain.
func longer(pause time.Duration) time.Duration { return min(max(2*pause, firstPause), lastPause) }

func (e *endpoint) eject(now time.Time) {
	if now.Sub(e.returned) > forgiving {
		e.pause = 0
	}
	e.ejected = now
	e.rest(now)
}

// rest sets the time of the next probe.
func (e *endpoint) rest(now time.Time) {
	e.pause = longer(e.pause)
	e.probe = now.Add(e.pause)
}

func (e *endpoint) serveAgain(now time.Time) {
	e.ejected, e.returned, e.alive = time.Time{}, now, now
}

// ejectable reports whether the node has reached an endpoint before, a virtual server has it, and
// no more than half of the endpoints there are ejected or in bad.
func (of *service) ejectable(at netip.AddrPort, bad []netip.AddrPort) bool {
	if !of.endpoints[at].reached {
		return false
	}
	for _, endpoints := range of.servers {
		n := 0
		for _, other := range endpoints {
			if slices.Contains(bad, other) || of.isEjected(other) {
				n++
			}
		}
		if 2*n <= len(endpoints) && slices.Contains(endpoints, at) {
			return true
		}
	}
	return false
}

func (of *service) isEjected(at netip.AddrPort) bool {
	e := of.endpoints[at]
	return e != nil && e.isEjected()
}

// settle ends a reading that began at now.
func (of *service) settle(now time.Time) {
	for at, e := range of.waiting {
		if e.settle(now); len(e.waiting) == 0 {
			delete(of.waiting, at)
		}
	}
}

// suspects returns the endpoints of the Service that are suspect, and that no probe is about,
// sorted.
func (of *service) suspects(now time.Time) []netip.AddrPort {
	var out []netip.AddrPort
	for at, e := range of.waiting {
		if e.rendered == of.rendering && len(e.waiting) >= fewest && !e.probing && e.isSuspect(now, of.after) {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// others returns a few endpoints that are neither suspects nor ejected.
func (of *service) others(suspects []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for at, e := range of.endpoints {
		if len(out) == fewControls {
			break
		}
		if e.rendered == of.rendering && !e.isEjected() && !slices.Contains(suspects, at) {
			out = append(out, at)
		}
	}
	return out
}
