package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	kube "kube-ipvs/test/lib/cluster"
)

// requestLimits bound the time for one proxy at one size.
type requestLimits struct {
	sizes   []int
	changes int
	idle    time.Duration
	quiet   time.Duration // without a message: the exchange has ended
	patient time.Duration
	reads   int // of everything
}

func requestLimitsOf(small bool) requestLimits {
	if small {
		return requestLimits{sizes: []int{200}, changes: 10, idle: 5 * time.Second, quiet: 2 * time.Second, patient: 2 * time.Minute, reads: 2}
	}
	return requestLimits{sizes: []int{1000, 10000}, changes: 50, idle: time.Minute, quiet: 5 * time.Second, patient: 4 * time.Minute, reads: 3}
}

// requestsRun measures the requests of one proxy at one size.
type requestsRun struct {
	*bench
	lab      *lab
	proxy    *proxy
	services int
	limits   requestLimits
	turn     int // of changes
}

// Topics of requests, and their units.
const (
	askStart   = "Requests of a start"
	askIdle    = "Requests while nothing changes"
	askChange  = "Bytes of a change"
	askCut     = "Requests after a connection was cut"
	askSilence = "Requests after a connection went silent"
	askExpired = "Requests after what was missed is too old"
	askRestart = "Requests after a restart of the API server"
)

// requests measures the requests of a proxy to a real API server, and the answers.
func requests(ctx context.Context, b *bench) (err error) {
	l, err := newLab(ctx, b, kube.Options{Audit: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	l.dressed = true
	if err := l.count(ctx); err != nil {
		return err
	}
	limits := requestLimitsOf(b.small)
	for _, services := range limits.sizes {
		if err := l.seed(ctx, services, controlEndpoints); err != nil {
			return err
		}
		if err := (&requestsRun{bench: b, lab: l, services: services, limits: limits}).floors(ctx); err != nil {
			return fmt.Errorf("%d Services read: %w", services, err)
		}
		for _, p := range b.chosen([]*proxy{{name: ours, user: requester}, {name: "nftables", mode: "nftables", user: requester}}) {
			began := time.Now()
			r := &requestsRun{bench: b, lab: l, proxy: p, services: services, limits: limits}
			if err := r.all(ctx); err != nil {
				return fmt.Errorf("%s with %d Services: %w", p.name, services, err)
			}
			b.say("%s with %d Services took %s", p.name, services, time.Since(began).Round(100*time.Millisecond))
		}
	}
	return nil
}

// all makes all measurements of a proxy that starts, and removes it.
func (r *requestsRun) all(ctx context.Context) (err error) {
	defer func() {
		if r.proxy.program != nil {
			err = errors.Join(err, r.proxy.leave(r.lab))
		}
	}()
	for _, step := range []struct {
		topic, unit string
		per         float64 // of this much each
		of          func(context.Context) (func(reading) bool, error)
	}{
		{askStart, "KiB received", 1 << 10, r.start},
		{askIdle, "KiB received a minute", r.limits.idle.Minutes() * (1 << 10), r.rest},
		{askChange, "B received", float64(r.limits.changes), r.change},
		{askCut, "KiB received", 1 << 10, r.cut},
		{askSilence, "KiB received", 1 << 10, r.silence},
		{askExpired, "KiB received", 1 << 10, r.expire},
		{askRestart, "KiB received", 1 << 10, r.restart},
	} {
		if err := r.measure(ctx, step.topic, step.unit, step.per, step.of); err != nil {
			return fmt.Errorf("%s: %w", step.topic, err)
		}
	}
	return nil
}

// measure notes the exchange from the call of f until nothing more comes. f returns
// the requests that must have been made until then.
func (r *requestsRun) measure(ctx context.Context, topic, unit string, per float64, f func(context.Context) (func(reading) bool, error)) error {
	before, err := r.lab.read(ctx)
	if err != nil {
		return err
	}
	server, began := r.lab.control.API.PID(), time.Now()
	enough, err := f(ctx)
	if err != nil {
		return err
	}
	all, took, err := r.settled(ctx, before, enough)
	if err != nil {
		return err
	}
	every, lists, resumptions := all.asked(func(kube.Request) bool { return true }), all.asked(whole), all.asked(resumed)
	counts := map[string]float64{
		"sent": all.sent / per, "connections": all.connections, "lists": float64(lists), "watches": float64(resumptions), "other requests": float64(every - lists - resumptions),
	}
	if topic != askIdle && topic != askChange {
		counts["s until all was there"] = took.Seconds()
	}
	if synced, ok := firstRound(r.proxy.program.Log(2000), began); ok && topic == askStart {
		counts["s until all caches were synced"] = synced.Sub(began).Seconds()
	}
	if r.lab.control.API.PID() == server {
		counts["CPU s of the API server"] = all.cpu
	}
	note := map[string]string{askStart: "objects have all that their controllers write, such as managed fields"}[topic]
	if topic == askChange && r.proxy.name != ours {
		note = "by the stream that began with all objects, which the API server compresses until it ends, after 5 to 10 minutes; the next ones it does not"
	}
	figure := &Figure{Topic: topic, Subject: r.proxy.name, Services: r.services, Endpoints: controlEndpoints, Unit: unit, Samples: []float64{all.received / per}, Counts: counts, Note: note}
	r.results.Add(figure)
	r.say("  %s %v", figure.line(), all.requests)
	return nil
}
