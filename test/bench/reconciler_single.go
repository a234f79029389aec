package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// addresses measures the cost of an address among many, by families.
func addresses(ctx context.Context, b *bench) error {
	counts := []int{100, 10_000}
	if b.small {
		counts = []int{100, 1000}
	}
	for _, n := range counts {
		for _, six := range []bool{false, true} {
			if err := b.bind(ctx, n, six); err != nil {
				return fmt.Errorf("bind %d addresses: %w", n, err)
			}
		}
	}
	return nil
}

// loopback is the index of lo, which local routes need no address on.
const loopback = 1

func (b *bench) bind(ctx context.Context, n int, six bool) error {
	if err := shell(ctx, "ip link add bench1 type dummy"); err != nil {
		return err
	}
	links, err := netutil.OpenLinks()
	if err != nil {
		return err
	}
	index, _, _, err := links.FindDummy("bench1")
	if err != nil {
		return err
	}
	family, first := "IPv4", netip.MustParseAddr("10.200.0.1")
	if six {
		family, first = "IPv6", netip.MustParseAddr("fd99::1")
	}
	var add, del, route, unroute netutil.Batch
	for i, a := 0, first; i < n; i, a = i+1, a.Next() {
		netutil.AddVIP(&add, index, a)
		netutil.DeleteAddress(&del, index, a)
		netutil.AddImageRoute(&route, loopback, netip.PrefixFrom(a, a.BitLen()))
		netutil.DeleteImageRoute(&unroute, loopback, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, step := range []struct {
		topic, subject string
		batch          *netutil.Batch
	}{
		{"bind a VIP", "address", &add}, {"unbind a VIP", "address", &del},
		{"bind a VIP", "local route", &route}, {"unbind a VIP", "local route", &unroute},
	} {
		f := b.of(step.topic+", "+family, step.subject, size{n, 0}, "µs")
		began := time.Now()
		if errs := links.Exec(step.batch); errs != nil {
			return fmt.Errorf("%s by %s, %s: %w", step.topic, step.subject, family, errors.Join(errs...))
		}
		f.Samples = append(f.Samples, float64(time.Since(began).Microseconds())/float64(n))
	}
	return errors.Join(links.Close(), shell(ctx, "ip link del bench1"))
}

const userspaceRuns = 5

// userspace measures the loop over a kernel in memory, as Cilium's benchmark of
// its load-balancer control plane does.
func userspace(ctx context.Context, b *bench) error {
	s := size{50_000, 1}
	if b.small {
		s = size{5_000, 1}
	}
	events := eventsOf(s)
	rate, allocs := b.figure("userspace alone", s, "services/s"), b.figure("userspace alone, allocations", s, "a Service")
	bytes, live := b.figure("userspace alone, allocated", s, "B a Service"), b.figure("userspace alone, live", s, "B a Service")
	var err error
	for range userspaceRuns {
		var before, after, rest runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		l := startLoop(ctx, sink{}, events)
		if _, err := l.next(ctx); err != nil {
			return err
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		runtime.GC()
		runtime.ReadMemStats(&rest)
		n := float64(s.services)
		rate.Samples = append(rate.Samples, n/took.Seconds())
		allocs.Samples = append(allocs.Samples, float64(after.Mallocs-before.Mallocs)/n)
		bytes.Samples = append(bytes.Samples, float64(after.TotalAlloc-before.TotalAlloc)/n)
		live.Samples = append(live.Samples, (float64(rest.HeapAlloc)-float64(before.HeapAlloc))/n)
		if len(rate.Samples) == userspaceRuns {
			err = b.oneAlone(ctx, l, s)
		}
		l.stop()
	}
	return err
}

// oneAlone changes one endpoint at a time.
func (b *bench) oneAlone(ctx context.Context, l *loop, s size) error {
	changes := make([]source.Event, 2000)
	for i := range changes {
		changes[i] = bareSlice((i*7919)%s.services, s.endpoints, i+1)
	}
	f := b.figure("userspace alone, one endpoint changed", s, "µs")
	var before, after runtime.MemStats
	var at, then unix.Rusage
	runtime.ReadMemStats(&before)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &at); err != nil {
		return err
	}
	for _, e := range changes {
		began := time.Now()
		l.Events([]source.Event{e})
		if _, err := l.next(ctx); err != nil {
			return err
		}
		f.Samples = append(f.Samples, float64(time.Since(began).Nanoseconds())/1e3)
	}
	runtime.ReadMemStats(&after)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &then); err != nil {
		return err
	}
	n := float64(len(changes))
	cpu := then.Utime.Nano() + then.Stime.Nano() - at.Utime.Nano() - at.Stime.Nano()
	f.Counts = map[string]float64{"allocations": float64(after.Mallocs-before.Mallocs) / n, "CPU µs": float64(cpu) / 1e3 / n}
	return nil
}

// sink is a kernel that takes everything and keeps nothing.
type sink struct{}

func (sink) Facts(context.Context) (state.Facts, error) {
	return state.Facts{NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.10")}}, nil
}
func (sink) Expect([2]string)                           {}
func (sink) Read(context.Context) (*state.State, error) { return &state.State{}, nil }
func (sink) Apply(context.Context, state.Plan) []error  { return nil }
func (sink) Reader(context.Context) (kernel.Reader, error) {
	return nil, errors.ErrUnsupported
}
func (sink) Flows(context.Context) (kernel.Flows, error)           { return nil, errors.ErrUnsupported }
func (sink) Stats() kernel.Stats                                   { return kernel.Stats{} }
func (sink) ProbeScheduler(context.Context, string) error          { return nil }
func (sink) Loads(context.Context, state.ID) ([]state.Load, error) { return nil, nil }
func (sink) Connections(context.Context, []state.ID) (map[state.ID]uint32, error) {
	return nil, nil
}

var _ kernel.Kernel = sink{}
