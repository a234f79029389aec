package main

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// tally counts connections by endpoint.
type tally map[string]int

// spread returns the most by the mean of n endpoints, and the coefficient of variation in per
// cent.
func (t tally) spread(n int) (most, variation float64) {
	sum, squares := 0.0, 0.0
	for _, count := range t {
		most, sum = max(most, float64(count)), sum+float64(count)
	}
	mean := sum / float64(n)
	for _, count := range t {
		squares += (float64(count) - mean) * (float64(count) - mean)
	}
	squares += float64(n-len(t)) * mean * mean
	return most / mean, 100 * math.Sqrt(squares/float64(n)) / mean
}

// each opens connections one after the other, and closes each at once.
func (r *balanceRun) each(of backend, n int) (tally, error) {
	got := tally{}
	return got, r.lab.C1.Do(func() error {
		for range n {
			h, err := r.dialer.openHere(of.address())
			if err != nil {
				return err
			}
			h.close()
			got[h.endpoint]++
		}
		return nil
	})
}

// canary measures the share of a canary.
func (r *balanceRun) canary(context.Context) error {
	of, n, by := r.all[canary], r.limits.peers, ""
	if r.subject.mode == "" {
		n, by = r.limits.canary, "weights"
	}
	got, err := r.each(of, n)
	if err != nil {
		return err
	}
	r.add(canary, by, "% of the connections", 100*float64(got[of.endpoint(3)])/float64(n), map[string]float64{"connections": float64(n)})
	return nil
}

// even measures how even new connections are, by a scheduler.
func (r *balanceRun) even(scheduler string) error {
	of := r.all[scheduler]
	got, err := r.each(of, r.limits.even)
	if err != nil {
		return err
	}
	r.addSpread(even, scheduler, got, len(of.workloads))
	return nil
}

func (r *balanceRun) addSpread(topic, scheduler string, got tally, endpoints int) {
	most, variation := got.spread(endpoints)
	n := 0
	for _, count := range got {
		n += count
	}
	r.add(topic, scheduler, "max/mean", most, map[string]float64{"coefficient of variation, %": variation, "connections": float64(n)})
}

// newcomer adds an endpoint under load, and measures its share of the new connections in
// each second.
func (r *balanceRun) newcomer(ctx context.Context) error {
	of := r.all[newcomer]
	before := len(of.workloads)
	load := &load{r: r, to: of}
	defer load.end()
	if err := load.run(r.limits.life + r.limits.life/8); err != nil {
		return err
	}
	if err := r.endpoints(ctx, of, numbers(0, before+1)); err != nil {
		return err
	}
	busiest, first, sum, all := 0.0, 0, 0, 0
	for second := range int(r.limits.rise / time.Second) {
		load.got = tally{}
		if err := load.run(time.Second); err != nil {
			return err
		}
		n := 0
		for _, count := range load.got {
			n += count
		}
		its := load.got[of.endpoint(before)]
		busiest = max(busiest, float64(its*(before+1))/float64(n))
		if sum, all = sum+its, all+n; first == 0 && its > 0 {
			first = second + 1
		}
	}
	scheduler := r.subject.scheduler
	if r.subject.mode == "" {
		scheduler += ", slow start"
	}
	r.add(newcomer, scheduler, "× its share of new connections in the busiest second", busiest, map[string]float64{
		"× its share over all seconds": float64(sum*(before+1)) / float64(all), "connections a second": float64(all) / r.limits.rise.Seconds(),
	})
	return nil
}

// load is connections to a Service that come all the time. Once there are as many as come in
// the life of one, each that comes ends another.
type load struct {
	r    *balanceRun
	to   backend
	got  tally
	open []held
	next time.Time
}

// run keeps up the load for a time. A client that was late opens what it has missed.
func (l *load) run(while time.Duration) error {
	if l.got == nil {
		l.got, l.next = tally{}, time.Now()
	}
	until := l.next.Add(while)
	return l.r.lab.C1.Do(func() error {
		for l.next.Before(until) {
			time.Sleep(time.Until(l.next))
			h, err := l.r.dialer.openHere(l.to.address())
			if err != nil {
				return err
			}
			l.got[h.endpoint]++
			l.open = append(l.open, h)
			if len(l.open) > l.r.limits.rate*int(l.r.limits.life/time.Second) {
				at := rand.IntN(len(l.open))
				l.open[at].close()
				l.open = slices.Delete(l.open, at, at+1)
			}
			l.next = l.next.Add(time.Second / time.Duration(l.r.limits.rate))
		}
		return nil
	})
}

func (l *load) end() {
	for _, h := range l.open {
		h.close()
	}
}

// lasting holds connections while each endpoint is replaced in turn. The clients of one that
// goes connect again.
func (r *balanceRun) lasting(ctx context.Context) error {
	of := r.all[cmp.Or(r.subject.scheduler, "rr")]
	var open []held
	defer func() {
		for _, h := range open {
			h.close()
		}
	}()
	for turn := range r.limits.turns + 1 {
		now := numbers(turn, len(of.workloads))
		if turn > 0 {
			if err := r.endpoints(ctx, of, now); err != nil {
				return err
			}
			if err := r.await(of, of.endpoint(now[len(now)-1])); err != nil {
				return err
			}
		}
		// The old one may get connections beside the new one, for a moment.
		for open = staying(open, of, now); len(open) < r.limits.lasting; open = staying(open, of, now) {
			for len(open) < r.limits.lasting {
				h, err := r.dialer.open(of.address())
				if err != nil {
					return err
				}
				open = append(open, h)
			}
		}
	}
	got := tally{}
	for _, h := range open {
		got[h.endpoint]++
	}
	r.addSpread(lasting, r.subject.scheduler, got, len(of.workloads))
	return nil
}

// staying closes the connections to all but some endpoints, and returns the others.
func staying(open []held, of backend, some []int) []held {
	return slices.DeleteFunc(open, func(h held) bool {
		gone := !slices.ContainsFunc(some, func(i int) bool { return of.endpoint(i) == h.endpoint })
		if gone {
			h.close()
		}
		return gone
	})
}
