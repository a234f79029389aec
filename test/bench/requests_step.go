package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	kube "kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// settled waits until enough was asked for and nothing has come for a while. It
// returns the exchange, and its duration.
func (r *requestsRun) settled(ctx context.Context, before reading, enough func(reading) bool) (all reading, took time.Duration, err error) {
	const nothing = 4 << 10 // such as a ping, or a bookmark
	began, last, at := time.Now(), before, time.Now()
	for done := false; !done || time.Since(at) < r.limits.quiet; {
		select {
		case <-ctx.Done():
			return all, 0, ctx.Err()
		case <-time.After(glance):
		}
		now, err := r.lab.bytes(ctx)
		if err != nil {
			return all, 0, err
		}
		if now.received-last.received > nothing || now.sent-last.sent > nothing {
			last, at = now, time.Now()
		}
		if !done {
			if all, err = r.lab.read(ctx); err != nil {
				return all, 0, err
			}
			done = enough(all.since(before))
		}
		if time.Since(began) > r.limits.patient {
			return all, 0, fmt.Errorf("it was not done within %s; it asked for %v, and %s", r.limits.patient, all.since(before).requests, lastLine(r.proxy))
		}
	}
	all, err = r.lab.read(ctx)
	return all.since(before), at.Sub(began), err
}

func nothing(reading) bool { return true }

func (r *requestsRun) start(context.Context) (func(reading) bool, error) {
	return reading.followed, r.proxy.start(r.lab)
}

func (r *requestsRun) rest(ctx context.Context) (func(reading) bool, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(r.limits.idle): // a time in which nothing happens
	}
	return nothing, nil
}

// change has an endpoint of one Service after another replaced.
func (r *requestsRun) change(ctx context.Context) (func(reading) bool, error) {
	for range r.limits.changes {
		if err := r.rewrite(ctx); err != nil {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond) // each is to be sent by itself
	}
	return nothing, nil
}

func (r *requestsRun) rewrite(ctx context.Context) error {
	r.turn++
	i := r.turn * 37 % r.services
	return r.lab.control.Rewrite(ctx, r.lab.slice(seededName(i), pooled(i, r.turn, controlEndpoints)...))
}

// cut has the connections reset that there are. New ones are let through.
func (r *requestsRun) cut(ctx context.Context) (func(reading) bool, error) {
	open, err := r.connections(ctx)
	if err != nil || len(open) == 0 {
		return nil, errors.Join(err, errors.New("the proxy has no connection to cut"))
	}
	var rules []string
	for _, port := range open {
		rules = append(rules, fmt.Sprintf("INPUT -p tcp -s %s --sport %s -j REJECT --reject-with tcp-reset", r.lab.Node.IPv4, port))
	}
	mend, err := r.lab.block(ctx, rules)
	if err != nil {
		return nil, err
	}
	// A change has something sent to the proxy, and its answer is refused.
	err = r.lost(ctx, open, func(ctx context.Context) error {
		defer time.Sleep(glance) // one is enough, mostly
		return r.rewrite(ctx)
	})
	return reading.followed, errors.Join(err, mend())
}

// silence has nothing pass until the proxy has given its connections up.
func (r *requestsRun) silence(ctx context.Context) (func(reading) bool, error) {
	open, err := r.connections(ctx)
	if err != nil {
		return nil, err
	}
	mend, err := r.silent(ctx)
	if err != nil {
		return nil, err
	}
	err = r.lost(ctx, open, func(context.Context) error { return nil })
	return reading.followed, errors.Join(err, mend())
}

func (r *requestsRun) silent(ctx context.Context) (mend func() error, err error) {
	node := r.lab.Node.IPv4.String()
	return r.lab.block(ctx, []string{"INPUT -s " + node + " -j DROP", "OUTPUT -d " + node + " -j DROP"})
}

// lost waits until connections are gone, and does something meanwhile.
func (r *requestsRun) lost(ctx context.Context, open []string, meanwhile func(context.Context) error) error {
	return testbed.Await(ctx, r.limits.patient, func() error {
		err := meanwhile(ctx)
		now, wrong := r.connections(ctx)
		if slices.ContainsFunc(open, func(port string) bool { return slices.Contains(now, port) }) {
			wrong = errors.New("connections are still there")
		}
		return errors.Join(err, wrong)
	})
}

// connections returns the ports of the node's connections to the API server.
func (r *requestsRun) connections(ctx context.Context) ([]string, error) {
	out, err := r.lab.Node.Shell(ctx, "ss -Htn state established dst "+r.lab.Ext.IPv4.String()+" | sed -E 's/.*:([0-9]+) +[0-9].*/\\1/'")
	return strings.Fields(out), err
}

// expire has the API server start anew while nothing passes. The proxy does not notice
// it, and asks for later events, of which a new API server has no memory.
func (r *requestsRun) expire(ctx context.Context) (func(reading) bool, error) {
	mend, err := r.silent(ctx)
	if err != nil {
		return nil, err
	}
	return anew, errors.Join(r.renewed(ctx), mend())
}

// restart has the API server end and start. Until it is back, connections are refused.
func (r *requestsRun) restart(ctx context.Context) (func(reading) bool, error) {
	return anew, r.renewed(ctx)
}

// renewed is not SIGTERM, after which the API server waits for a minute.
func (r *requestsRun) renewed(ctx context.Context) error {
	return errors.Join(r.lab.control.API.Kill(), r.rewrite(ctx), r.lab.control.StartAPI(ctx))
}

// anew tells whether all kinds have been read anew.
func anew(r reading) bool {
	n := r.asked(func(q kube.Request) bool {
		return whole(q) && (q.Resource == "services" || q.Resource == "endpointslices")
	})
	return n >= 2 && r.followed()
}
