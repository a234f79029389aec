package eject

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
)

const (
	// probeTime is how long a probe may take. In that time it opens connections, one each
	// attemptPause, until one is answered.
	probeTime    = 800 * time.Millisecond
	attemptPause = 50 * time.Millisecond
	// verdictAttempts is how many connections decide that an endpoint is dead. If a tenth of them
	// fails, as with 5 % loss each way, all do in one of 10^12 probes. Six are too few: a busy
	// Service has 2,000 probes in an hour of such loss, so that a live endpoint was ejected in
	// one of 600 simulated hours.
	verdictAttempts = 12
	// returnAttempts is how many connections an endpoint that is ejected, or was never reached,
	// gets at a time: if all are lost, it gets others later.
	returnAttempts = 6
	// mostProbed is how many endpoints are probed at once. Namespaces, and the Services of each,
	// have their turns.
	mostProbed = 32
	// mostSuspects is how many suspect endpoints of a Service are probed at once.
	mostSuspects = 4
	// fewControls is how many other endpoints are probed beside suspect ones.
	fewControls = 3
)

// result is the result of a probe.
type result int

const (
	silent    result = iota
	refused          // there is an answer: the endpoint or a policy refuses, or the node cannot probe
	connected        // the endpoint accepts connections
)

// dial opens and closes a TCP connection.
func dial(ctx context.Context, at netip.AddrPort) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// reach probes an endpoint of a Service by so many attempts at the most.
func (w *Watch) reach(ctx context.Context, key model.Key, at netip.AddrPort, attempts int) result {
	if !w.slots.take(ctx, key) {
		return refused
	}
	defer w.slots.give()
	within, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	results := make(chan result, attempts)
	for i := range attempts {
		go func() {
			pace.Pause(within, time.Duration(i)*attemptPause)
			if within.Err() != nil { // another one was answered, or the process ends
				results <- silent
				return
			}
			results <- resultOf(w.config.Dial(within, at))
		}()
	}
	for range attempts {
		if r := <-results; r != silent {
			return r
		}
	}
	if ctx.Err() != nil { // the process ends
		return refused
	}
	return silent
}

// resultOf returns the result of an attempt.
func resultOf(err error) result {
	var timeout net.Error
	switch {
	case err == nil:
		return connected
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.As(err, &timeout) && timeout.Timeout():
		return silent
	}
	return refused
}

// reachAll probes endpoints of a Service, and returns those with the result silent.
func (w *Watch) reachAll(ctx context.Context, key model.Key, all []netip.AddrPort) (silents []netip.AddrPort) {
	results := make(chan netip.AddrPort, len(all))
	for _, at := range all {
		go func() {
			if w.reach(ctx, key, at, verdictAttempts) != silent {
				at = netip.AddrPort{}
			}
			results <- at
		}()
	}
	for range all {
		if at := <-results; at.IsValid() {
			silents = append(silents, at)
		}
	}
	return silents
}

// confirm probes suspect endpoints of a Service, and controls, which are others. It ejects the
// suspect ones that are silent, if another one is not.
func (w *Watch) confirm(ctx context.Context, key model.Key, suspects, controls []netip.AddrPort) {
	silents := w.reachAll(ctx, key, slices.Concat(suspects, controls))
	reached := len(silents) < len(suspects)+len(controls)
	if w.decide(key, suspects, silents, reached) {
		w.config.Changed(key)
	}
}

// decide reports whether it has ejected an endpoint, or spared another one than before. reached
// says that a probed endpoint is not silent.
func (w *Watch) decide(key model.Key, suspects, silents []netip.AddrPort, reached bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.services[key]
	if of == nil {
		return false
	}
	now := time.Now()
	var silent []netip.AddrPort
	before := w.ejections
	for _, at := range suspects {
		e := of.endpoints[at]
		switch {
		case e == nil: // it has left the Service
			continue
		case !slices.Contains(silents, at):
			e.answers(now)
		case reached && of.ejectable(at, silents):
			e.eject(now)
			of.untried[at] = e
			w.ejections++
		default:
			silent = append(silent, at)
		}
		e.probing = false
	}
	w.restless[of] = true // it may have had nothing that waits since
	return of.spare(silent) || w.ejections > before
}

// mostTried is how many endpoints begin to be probed by tryAgain at a time: thousands may be new.
const mostTried = mostProbed / 2

// probeOthers probes the ejected endpoints, and those that were never reached, whose time has
// come: of each Service in turn.
func (w *Watch) probeOthers(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due turns[*endpoint]
	now := time.Now()
	for of := range w.restless {
		for _, e := range of.untried {
			if !now.Before(e.probe) && !e.probing && e.rendered == of.rendering {
				due.add(e, of.key.Namespace, of.key.Name)
			}
		}
	}
	for range mostTried {
		if e, some := due.next(); some {
			e.probing = true
			w.running.Go(func() { w.tryAgain(ctx, e) })
		}
	}
}

// tryAgain has an ejected endpoint serve if it accepts a connection, and notes that it was
// reached.
func (w *Watch) tryAgain(ctx context.Context, e *endpoint) {
	accepts := w.reach(ctx, e.of.key, e.at, returnAttempts) == connected
	w.mu.Lock()
	serves := accepts && e.isEjected()
	e.probing, e.reached = false, e.reached || accepts
	switch {
	case serves:
		e.serveAgain(time.Now())
	case !accepts:
		e.rest(time.Now())
	}
	forgotten := e.of.endpoints[e.at] != e
	if e.reached && !e.isEjected() && !forgotten {
		delete(e.of.untried, e.at)
	}
	w.mu.Unlock()
	if serves && !forgotten {
		w.config.Changed(e.of.key)
	}
}
