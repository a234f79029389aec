package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/testbed"
)

var large = flag.Bool("large", false, "measure memory and CPU with a large cluster, which takes minutes: make bench-cluster")

const (
	largeServices  = 10000
	largeEndpoints = 10
	idle           = time.Minute
	mostMemory     = 100 << 10 // KiB; 80 MiB is what is meant, the rest is reserve
)

// usage is what a process takes.
type usage struct {
	resident, peak int           // KiB of memory, now and at most
	own            int           // KiB of the resident memory that are no file's, such as the program's
	cpu            time.Duration // since its start, with that of programs that it started and that have ended
}

// The clock that /proc counts in, whatever the kernel's own.
const tick = 10 * time.Millisecond

func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	var u usage
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		for name, at := range map[string]*int{"VmRSS:": &u.resident, "VmHWM:": &u.peak, "RssAnon:": &u.own} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				_, err := fmt.Sscan(rest, at)
				must(t, err)
			}
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime: 14 to 17 of proc_pid_stat(5)
		var ticks int64
		_, err = fmt.Sscan(field, &ticks)
		must(t, err)
		u.cpu += time.Duration(ticks) * tick
	}
	return u
}

// calm waits until a process has had little to do for some seconds.
func calm(t *testing.T, pid int) {
	t.Helper()
	last, quiet := usageOf(t, pid).cpu, 0
	must(t, testbed.Await(t.Context(), 10*time.Minute, func() error {
		time.Sleep(time.Second)
		now := usageOf(t, pid).cpu
		if now-last > 5*tick {
			quiet = 0
		}
		quiet, last = quiet+1, now
		if quiet < 10 {
			return fmt.Errorf("it still works")
		}
		return nil
	}))
}

// measure tells what a proxy takes once all is programmed.
func measure(t *testing.T, what string, pid int) usage {
	t.Helper()
	calm(t, pid)
	before := usageOf(t, pid)
	time.Sleep(idle) // what is measured is a time in which nothing happens
	after := usageOf(t, pid)
	t.Logf("%s with %d Services of %d endpoints: %.1f MiB resident (%.1f without files), %.1f at most, %s of CPU until it rested, %.2f %% of a CPU idle",
		what, largeServices, largeEndpoints, mib(after.resident), mib(after.own), mib(after.peak), before.cpu, 100*(after.cpu-before.cpu).Seconds()/idle.Seconds())
	return after
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// What a large cluster takes of memory and, when nothing happens, of CPU, beside
// what it takes of kube-proxy. A test only bounds our memory.
func TestLarge(t *testing.T) {
	if !*large {
		t.Skip("takes minutes; see -large")
	}
	c := other(t)
	// An API server that starts reads them once; one that runs is told of each,
	// which in a slow lab takes it too long.
	must(t, c.API.Kill())
	fill(t, c, largeServices, largeEndpoints)
	must(t, c.StartAPI(t.Context()))
	readable(t, c, largeServices)
	t.Run("kube-ipvs", func(t *testing.T) {
		d := startWith(t, c.Kubeconfig(Admin))
		began := time.Now()
		allServed(t, 3*time.Minute, largeServices, largeServices*largeEndpoints)
		t.Logf("all were programmed %s after the start", time.Since(began).Round(time.Millisecond))
		u := measure(t, "kube-ipvs", d.PID())
		if u.resident > mostMemory {
			t.Errorf("%d KiB are resident, want %d at most", u.resident, mostMemory)
		}
	})
	for _, mode := range []string{"iptables", "ipvs"} {
		t.Run("kube-proxy "+mode, func(t *testing.T) {
			began := time.Now()
			p, err := kubeProxyOf(t, c, mode)
			if err != nil {
				t.Skipf("this lab is too slow for it: %v", err)
			}
			if mode == "ipvs" {
				allServed(t, 20*time.Minute, largeServices, largeServices*largeEndpoints)
			} else {
				must(t, testbed.Await(t.Context(), 20*time.Minute, func() error { return rules(t.Context(), largeServices*largeEndpoints) }))
			}
			t.Logf("all were programmed %s after the start", time.Since(began).Round(time.Second))
			measure(t, "kube-proxy in mode "+mode, p.PID())
		})
	}
}

// rules wants kube-proxy to tell that it has written that many.
func rules(ctx context.Context, least float64) error {
	time.Sleep(time.Second) // leaves the CPU to it
	n, err := metric(ctx, "kubeproxy_sync_proxy_rules_iptables_total")
	if err == nil && n < least {
		err = fmt.Errorf("it has %g rules, want %g", n, least)
	}
	return err
}
