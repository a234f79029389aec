package state

import (
	"net/netip"
	"slices"
	"testing"
)

func TestFlows(t *testing.T) {
	for _, tt := range []struct {
		entry ID
		want  string
	}{
		{EntryID(SetCluster, UDP, ap("10.96.0.53:53")), "flow udp to 10.96.0.53 port 53"},
		{EntryID(SetExternalLocal, TCP, ap("[fd50::200]:80")), "flow tcp to fd50::200 port 80"},
		{NetEntryID(SetNodePort, UDP, netip.MustParsePrefix("128.0.0.0/1"), 30053), "flow udp to 128.0.0.0/1 port 30053"},
	} {
		if got := tt.entry.Flows().String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.entry, got, tt.want)
		}
	}
	if a, b := EntryID(SetExternal, UDP, ap("10.0.0.1:53")).Flows(), FlowID(UDP, ap("10.0.0.1:53")); a != b || a.Network().IsValid() {
		t.Errorf("%v is not %v", a, b)
	}
}

func TestAnswering(t *testing.T) {
	none, one, other, both := []netip.AddrPort(nil), []netip.AddrPort{ap("10.244.0.9:53")}, []netip.AddrPort{ap("[fd44::1]:53")}, []netip.AddrPort{ap("10.244.0.9:53"), ap("[fd44::1]:53")}
	for _, tt := range []struct {
		was, is []netip.AddrPort
		loses   bool
	}{
		{none, none, false}, {none, both, false}, {one, both, false}, {both, both, false},
		{both, one, true}, {both, other, true}, {one, other, true}, {one, none, true},
	} {
		was := Answering(tt.was)
		if got := was.Answers(); !slices.Equal(got, tt.was) {
			t.Errorf("%v became %v", tt.was, got)
		}
		if got := was.Loses(Answering(tt.is)); got != tt.loses {
			t.Errorf("from %v to %v: %v, want %v", tt.was, tt.is, got, tt.loses)
		}
	}
}
