package wire

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

var ejecting = testbed.Service{Name: "eject", Number: 1, Type: "NodePort", Protocols: []string{"TCP"}, Families: []string{"IPv4"}, Annotations: "kube-ipvs/eject-after: 3s"}

// mute has pods drop all packets to their port until the returned function is called, or the
// test ends.
func mute(t *testing.T, pods ...*testbed.Host) (unmute func()) {
	t.Helper()
	rule := "INPUT -p tcp --dport 8080 -j DROP"
	for _, h := range pods {
		on(t, h, "iptables -w -I "+rule)
	}
	unmute = sync.OnceFunc(func() {
		for _, h := range pods {
			if _, err := h.Shell(context.WithoutCancel(t.Context()), "iptables -w -D "+rule); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(unmute)
	return unmute
}

// pour has a client connect to an address ten times a second until the test ends.
func pour(t *testing.T, to netip.AddrPort) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick.C:
				wg.Go(func() { _, _ = bed.C1.Ask(ctx, "tcp", to, testbed.From{Patience: 5 * time.Second}) })
			}
		}
	})
}

// weightless returns the endpoints with weight 0.
func weightless() (map[string]bool, error) {
	out, err := bed.Node.Shell(context.Background(), "ipvsadm -Sn")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 4 && f[0] == "-a" && strings.HasSuffix(strings.TrimSpace(line), "-w 0") {
			found[f[4]] = true
		}
	}
	return found, nil
}

// awaitWeightless waits until these endpoints have weight 0 and no others.
func awaitWeightless(t *testing.T, limit time.Duration, want ...string) {
	t.Helper()
	err := testbed.Await(t.Context(), limit, func() error {
		got, err := weightless()
		if err != nil {
			return err
		}
		if fmt.Sprint(sorted(got)) != fmt.Sprint(want) {
			return fmt.Errorf("%q have weight 0, want %q", sorted(got), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEject kills an endpoint under a stream of connections. It is out within 3 seconds, the
// explanation says so, no later connection fails, and it comes back. If no endpoint answers, none
// is out.
func TestEject(t *testing.T) {
	for _, v := range testbed.Variants(t, true) {
		t.Run(v.ClusterIPServers+" "+v.VIPBinding, func(t *testing.T) {
			ejects(t, start(t, "--cluster-ip-servers", v.ClusterIPServers, "--vip-binding", v.VIPBinding))
		})
	}
}

func ejects(t *testing.T, d *testbed.Daemon) {
	serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), ejecting)
	to := ejecting.ClusterIP().V4
	pour(t, to)
	eventually(t, bed.C1, "tcp", to, "p2")
	dead := netip.AddrPortFrom(bed.P2.IPv4, testbed.TargetPort).String()
	unmute := mute(t, bed.P2)
	died := time.Now()
	awaitWeightless(t, 20*time.Second, dead)
	t.Logf("it is out after %s", time.Since(died)) // 2.3 to 2.8 s on a machine with nothing else to do
	answered(t, requests([]testbed.Frontend{{Name: "IPv4", V4: to, V6: to}}, bed.C1)[:1], anyone, "p1", "r1")
	settled(t, d)
	out, err := d.Command(t.Context(), "explain", "default/eject").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ejected, since it does not answer") {
		t.Errorf("explain: %v\n%s", err, out)
	}
	if line := "what=\"no answer to this node from " + dead; !strings.Contains(d.Log(), line) {
		t.Errorf("the log does not have %s", line)
	}
	unmute()
	awaitWeightless(t, 20*time.Second)
	eventually(t, bed.C1, "tcp", to, "p2")

	unmute = mute(t, bed.P1, bed.P2, bed.R1)
	cut := time.Now()
	for ; time.Since(cut) < 8*time.Second; time.Sleep(200 * time.Millisecond) {
		if got, err := weightless(); err != nil || len(got) > 0 {
			t.Fatalf("%q have weight 0, though no endpoint answers: %v", sorted(got), err)
		}
	}
	if !strings.Contains(d.Log(), "they are not ejected") {
		t.Error("the log does not say that none is ejected")
	}
	unmute()
}

// TestEjectsNoneOfLoss loses a packet of twenty each way for half a minute: no endpoint is out.
func TestEjectsNoneOfLoss(t *testing.T) {
	testbed.Long(t, "make lab-test LAB_FLAGS=-test.v")
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), ejecting)
		for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
			for _, rule := range []string{"INPUT -p tcp --dport 8080", "OUTPUT -p tcp --sport 8080"} {
				rule += " -m statistic --mode random --probability 0.05 -j DROP"
				on(t, h, "iptables -w -I "+rule)
				undo(t, h, "iptables -w -D "+rule)
			}
		}
		pour(t, ejecting.ClusterIP().V4)
		for began := time.Now(); time.Since(began) < 30*time.Second; {
			if got, err := weightless(); err != nil || len(got) > 0 {
				t.Fatalf("%q have weight 0: %v", sorted(got), err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		if strings.Contains(d.Log(), "no new connections there") {
			t.Error("endpoints were ejected")
		}
	})
}
