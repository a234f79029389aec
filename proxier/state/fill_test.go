package state

import (
	"net/netip"
	"testing"
)

// A virtual server is full once all real servers with a weight are at their limits, and until
// they have less than nine tenths of what they may have together.
func TestFull(t *testing.T) {
	server := VirtualServerID(TCP, netip.MustParseAddrPort("10.96.0.1:80"))
	one := func(weight, upper, connections uint32) Load {
		return Load{Weight: weight, Upper: upper, Active: connections / 2, Inactive: connections - connections/2}
	}
	for _, tt := range []struct {
		name        string
		loads       []Load
		full, stays bool // if it was not full before, and if it was
	}{
		{"no limit", []Load{one(1, 0, 1000)}, false, false},
		{"one is below", []Load{one(2, 100, 100), one(2, 100, 99)}, false, true},
		{"nine tenths", []Load{one(2, 100, 100), one(2, 100, 80)}, false, true},
		{"less", []Load{one(2, 100, 100), one(2, 100, 79)}, false, false},
		{"all are at it", []Load{one(2, 100, 100), one(2, 100, 100)}, true, true},
		{"lowered limit", []Load{one(2, 100, 300), one(2, 100, 79)}, false, false},
		{"one drains", []Load{one(2, 100, 100), one(0, 0, 7)}, true, true},
		{"all drain", []Load{one(0, 100, 100)}, false, false},
	} {
		var f Fills
		for i, l := range tt.loads {
			l.Real = RealServerID(server, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(i)}), 8080))
			f.Add(l)
		}
		if full := f.Full(nil)[server]; full != tt.full {
			t.Errorf("%s: full %v, want %v", tt.name, full, tt.full)
		}
		if stays := f.Full(map[ID]bool{server: true})[server]; stays != tt.stays {
			t.Errorf("%s: it stays full %v, want %v", tt.name, stays, tt.stays)
		}
	}
}
