package sweeper

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

var dnsEnd, otherEnd = at("10.244.0.11:53"), at("10.244.0.12:53")

func newSweeper() *Sweeper { return New(kernel.NewFake(), slog.New(slog.DiscardHandler), nil) }

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func udp(to string, by netip.AddrPort) kernel.Flow {
	return kernel.Flow{Proto: state.UDP, To: at(to), By: by}
}

func toNode(f kernel.Flow) kernel.Flow { f.Node = true; return f }

func tcp(to, by string, answered bool) kernel.Flow {
	return kernel.Flow{Proto: state.TCP, To: at(to), By: at(by), Answered: answered}
}

// Which flows go, of all that conntrack may have, when frontends are looked through.
func TestDoomed(t *testing.T) {
	dns, node := state.FlowID(state.UDP, at("10.96.0.53:53")), state.NetEntryID(state.SetNodePort, state.UDP, netip.MustParsePrefix("128.0.0.0/1"), 30053).Flows()
	external, web := state.FlowID(state.UDP, at("192.168.50.1:30053")), state.FlowID(state.TCP, at("10.96.0.10:80"))
	all := []kernel.Flow{
		udp("10.96.0.53:53", dnsEnd), udp("10.96.0.53:53", otherEnd), udp("10.96.0.53:53", at("10.96.0.53:53")), udp("10.96.0.53:54", otherEnd),
		toNode(udp("192.168.50.1:30053", dnsEnd)), toNode(udp("192.168.50.1:30053", otherEnd)), udp("192.168.50.9:30053", otherEnd), toNode(udp("10.0.0.1:30053", otherEnd)),
		tcp("10.96.0.10:80", "10.96.0.10:80", false), tcp("10.96.0.10:80", "10.96.0.10:80", true), tcp("10.96.0.10:80", "10.244.0.11:80", false),
	}
	serve := func(ids ...state.ID) map[state.ID]bool {
		out := map[state.ID]bool{}
		for _, id := range ids {
			out[id] = true
		}
		return out
	}
	for _, tt := range []struct {
		name    string
		served  map[state.ID]bool // by dnsEnd alone
		early   bool              // the source has not delivered everything
		queued  []state.ID
		all     bool
		go_     []int // of all
		dequeue bool
	}{
		{name: "an endpoint has gone", served: serve(dns, node), queued: []state.ID{dns}, go_: []int{1, 2}},
		{name: "the Service has gone", served: serve(node), queued: []state.ID{dns}, go_: []int{0, 1}},
		{name: "node port", served: serve(dns, node), queued: []state.ID{node}, go_: []int{5}},
		{name: "node port has gone", served: serve(dns), queued: []state.ID{node}, go_: []int{4, 5}},
		{name: "an external IP that is the node's comes first", served: serve(node, external), queued: []state.ID{node}, go_: []int{5}},
		{name: "an external IP that is the node's has gone, the node port serves", served: serve(node), queued: []state.ID{external}, go_: []int{5}},
		{name: "everything", served: serve(dns, node), all: true, go_: []int{1, 2, 5}},
		{name: "not everything is known", early: true, queued: []state.ID{dns}, go_: []int{2}},
		{name: "TCP", queued: []state.ID{web}, go_: []int{8}},
		{name: "TCP, gone meanwhile", queued: []state.ID{web}, dequeue: true},
		{name: "nothing", served: serve(dns, node)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newSweeper()
			f.complete = !tt.early
			for id := range tt.served {
				f.answers[id] = state.Answering([]netip.AddrPort{dnsEnd})
				f.ports.add(id)
			}
			for _, id := range tt.queued {
				f.queue(id)
			}
			if tt.all {
				f.queueAll()
			}
			s := f.take(state.IPv4)
			if s == nil {
				if len(tt.go_) > 0 {
					t.Fatal("nothing is looked through")
				}
				return
			}
			if tt.dequeue {
				f.dequeue(web)
			}
			var got []int
			for i, flow := range all {
				if s.doomed(flow) {
					got = append(got, i)
				}
			}
			if !slices.Equal(got, tt.go_) {
				t.Errorf("%v go, want %v", got, tt.go_)
			}
		})
	}
}

// What a tenant can make wait is bounded, and frontends that are there are not
// left out for it.
func TestQueueIsBounded(t *testing.T) {
	f := newSweeper()
	f.complete = true
	for i := range 2 * mostQueued {
		f.queue(state.FlowID(state.UDP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 53)))
	}
	live := state.FlowID(state.UDP, at("10.97.0.53:53"))
	f.answers[live] = state.Answering(nil)
	f.queue(live)
	if _, waits := f.queued[live]; !waits || len(f.queued) != mostQueued+1 || f.Sum().GivenUp != mostQueued {
		t.Errorf("%d wait, %+v", len(f.queued), f.Sum())
	}
}
