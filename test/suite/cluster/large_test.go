package cluster

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

var large = flag.Bool("large", false, "measure memory and CPU with a large cluster, which takes minutes: make bench-cluster")

const (
	largeServices  = 10000
	besideServices = 2000 // where kube-proxy is measured too: in the lab it takes too long for more
	largeEndpoints = 10
	idle           = time.Minute
	mostMemory     = 80 << 10 // KiB
	proxyPatience  = 5 * time.Minute
)

func usageOf(t *testing.T, pid int) cluster.Usage {
	t.Helper()
	u, err := cluster.UsageOf(pid)
	must(t, err)
	return u
}

// calm waits until a process has had little to do for some seconds.
func calm(t *testing.T, pid int) {
	t.Helper()
	last, quiet := usageOf(t, pid).CPU, 0
	must(t, testbed.Await(t.Context(), 10*time.Minute, func() error {
		time.Sleep(time.Second)
		now := usageOf(t, pid).CPU
		if now-last > 5*cluster.Tick {
			quiet = 0
		}
		quiet, last = quiet+1, now
		if quiet < 10 {
			return fmt.Errorf("it still works")
		}
		return nil
	}))
}

// measure returns the usage of a proxy that has programmed everything.
func measure(t *testing.T, what string, services, pid int) cluster.Usage {
	t.Helper()
	calm(t, pid)
	before := usageOf(t, pid)
	time.Sleep(idle) // the measured time, in which nothing happens
	after := usageOf(t, pid)
	t.Logf("%s with %d Services of %d endpoints: %.1f MiB resident (%.1f without files), %.1f at most, %s of CPU until it rested, %.2f %% of a CPU idle",
		what, services, largeEndpoints, mib(after.Resident), mib(after.Own), mib(after.Peak), before.CPU, 100*(after.CPU-before.CPU).Seconds()/idle.Seconds())
	return after
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// The memory of a large cluster and, while nothing happens, its CPU; and those of a
// smaller one, beside kube-proxy's. The test only bounds the memory of kube-ipvs.
func TestLarge(t *testing.T) {
	if !*large {
		t.Skip("takes minutes; see -large")
	}
	t.Run(fmt.Sprint(largeServices), func(t *testing.T) {
		c := filled(t, largeServices)
		u := measureOurs(t, c, largeServices)
		if u.Resident > mostMemory {
			t.Errorf("%d KiB are resident, want %d at most", u.Resident, mostMemory)
		}
	})
	t.Run(fmt.Sprint(besideServices), func(t *testing.T) {
		c := filled(t, besideServices)
		t.Run("kube-ipvs", func(t *testing.T) { measureOurs(t, c, besideServices) })
		for _, mode := range []string{"ipvs", "iptables", "nftables"} {
			t.Run("kube-proxy "+mode, func(t *testing.T) { measureProxy(t, c, mode, besideServices) })
		}
	})
}

// filled returns a control plane that has many Services. An API server that
// starts reads them once; one that runs is told of each, which in a slow lab
// takes it too long.
func filled(t *testing.T, many int) *cluster.Cluster {
	t.Helper()
	c := other(t)
	must(t, c.API.Kill())
	fill(t, c, many, largeEndpoints)
	must(t, c.StartAPI(t.Context()))
	readable(t, c, many)
	return c
}

func measureOurs(t *testing.T, c *cluster.Cluster, many int) cluster.Usage {
	t.Helper()
	d := startWith(t, c.Kubeconfig(cluster.Admin))
	began := time.Now()
	allServed(t, 3*time.Minute, many, many*largeEndpoints)
	t.Logf("all were programmed %s after the start", time.Since(began).Round(time.Millisecond))
	return measure(t, "kube-ipvs", many, d.PID())
}

func measureProxy(t *testing.T, c *cluster.Cluster, mode string, many int) {
	t.Helper()
	began := time.Now()
	p, err := kubeProxyOf(t, c, mode)
	if err != nil && (p == nil || !p.Runs()) {
		t.Fatal(err)
	}
	// It tells that it is healthy when it has written everything once, which may
	// take it longer than it is given to start.
	for err != nil && p.Runs() && time.Since(began) < proxyPatience {
		err = cluster.Ready(t.Context(), p, http.DefaultClient, "http://127.0.0.1:10256/healthz")
	}
	if err != nil {
		t.Skipf("this lab is too slow for it: %v", err)
	}
	if err := testbed.Await(t.Context(), proxyPatience, func() error { return written(t.Context(), mode, many) }); err != nil {
		t.Skipf("this lab is too slow for it: %v", err)
	}
	t.Logf("all were programmed %s after the start", time.Since(began).Round(time.Second))
	measure(t, "kube-proxy in mode "+mode, many, p.PID())
}

// counts print how many endpoints kube-proxy has written, by mode. In mode
// nftables they come in one transaction with their Services, which are counted.
var counts = map[string]string{
	"ipvs":     "grep -c '^  -> [0-9A-F]' /proc/net/ip_vs || true",
	"iptables": "iptables-save -t nat | grep -c '^-A KUBE-SEP-.* -j DNAT' || true",
	"nftables": "nft list map ip kube-proxy service-ips | grep -c ': goto service-' || true",
}

// written wants the endpoints of that many Services in the node's kernel.
func written(ctx context.Context, mode string, services int) error {
	least := services * largeEndpoints
	if mode == "nftables" {
		least = services
	}
	time.Sleep(2 * time.Second) // leaves the CPU to it
	out, err := bed.Node.Shell(ctx, counts[mode])
	if err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscan(out, &n); err != nil {
		return fmt.Errorf("%q is no number: %w", out, err)
	}
	if n < least {
		return fmt.Errorf("it has written %d of %d", n, least)
	}
	return nil
}
