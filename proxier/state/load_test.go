package state

import (
	"net/netip"
	"testing"
)

func TestStanding(t *testing.T) {
	real := RealServerID(VirtualServerID(TCP, netip.MustParseAddrPort("10.96.0.10:80")), netip.MustParseAddrPort("10.244.0.1:8080"))
	starts, zero := Reduced{real: SlowStart}, Reduced{real: ZeroWeight}
	for _, c := range []struct {
		name    string
		load    Load
		reduced Reduced
		want    Standing
	}{
		{"full weight", Load{Weight: 1, Active: 9}, Reduced{}, ""},
		{"removed", Load{Active: 9}, Reduced{}, Draining},
		{"by a rule", Load{}, zero, ZeroWeight},
		{"not written yet", Load{Weight: 1}, zero, ""},
		{"rises", Load{Weight: 7}, starts, SlowStart},
		{"rises from 0", Load{}, starts, SlowStart},
		{"below the limit", Load{Weight: 2, Upper: 3, Active: 1, Inactive: 1}, Reduced{}, ""},
		{"at the limit", Load{Weight: 2, Upper: 3, Active: 1, Inactive: 2}, Reduced{}, AtLimit},
		{"rises at the limit", Load{Weight: 2, Upper: 1, Active: 1}, starts, AtLimit},
		{"unknown", Load{Weight: 7}, nil, ""},
		{"unknown, 0", Load{}, nil, NoNew},
		{"unknown, at the limit", Load{Weight: 2, Upper: 1, Active: 4}, nil, AtLimit},
	} {
		c.load.Real = real
		if got := c.load.Standing(c.reduced); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
