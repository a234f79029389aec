package main

import (
	"slices"
	"testing"
	"time"
)

// All Services have as many endpoints as they should, and one is new at each turn.
func TestPooled(t *testing.T) {
	for i := range 5000 {
		before := pooled(i, 0, controlEndpoints)
		for turn := 1; turn < 4; turn++ {
			now := pooled(i, turn, controlEndpoints)
			fresh := 0
			for _, addr := range now {
				if !slices.Contains(before, addr) {
					fresh++
				}
			}
			slices.Sort(now)
			if n := len(slices.Compact(slices.Clone(now))); n != controlEndpoints || fresh != 1 {
				t.Fatalf("Service %d has %d different endpoints at turn %d, %d of them new; want %d and 1", i, n, turn, fresh, controlEndpoints)
			}
			before = now
		}
	}
}

// No two Services have the same address, not even a probe.
func TestAddresses(t *testing.T) {
	seen := map[string]bool{kubernetesAddr.Addr().String(): true, dnsAddr.Addr().String(): true}
	take := func(addr string) {
		t.Helper()
		if seen[addr] {
			t.Fatalf("%s is taken twice", addr)
		}
		seen[addr] = true
	}
	for i := range 30000 {
		take(seededAddr(i).Addr().String())
	}
	for i := range probeCount {
		take(probeAddr(i).Addr().String())
	}
	for i := range datagramServices {
		take(datagramAddr(i).Addr().String())
	}
}

func TestFirstRound(t *testing.T) {
	const log = `time=2026-01-02T03:04:05.000Z level=INFO msg=round round=1 took=1s full=true
time=2026-01-02T03:04:09.000Z level=INFO msg=started version=x
time=2026-01-02T03:04:10.500Z level=INFO msg=round round=1 took=500ms full=true
time=2026-01-02T03:04:12.500Z level=INFO msg=round round=2 took=1ms full=false
`
	start := time.Date(2026, 1, 2, 3, 4, 8, 0, time.UTC)
	got, ok := firstRound(log, start)
	if want := start.Add(2 * time.Second); !ok || !got.Equal(want) {
		t.Errorf("got %s, %v, want %s", got, ok, want)
	}
	if _, ok := firstRound(log, start.Add(time.Hour)); ok {
		t.Error("found a round after the last")
	}
}

func TestValue(t *testing.T) {
	in := map[string]any{"a": []any{1, map[string]any{"clusterIPServers": "image"}}}
	if got := value(in, "clusterIPServers"); got != "image" {
		t.Errorf("got %v", got)
	}
	if got := value(in, "none"); got != nil {
		t.Errorf("got %v", got)
	}
}
