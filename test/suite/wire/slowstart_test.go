package wire

import (
	"slices"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// TestSlowStart adds an endpoint under a stream of connections that stay, behind lc. Without
// slow start it gets all of them until it has as many as the others. With it, it gets its share,
// which is a third. That share goes by the pace of the last four seconds: on a busy machine, whose
// clients become slow, it may be more of any twenty for a while. make bench PARTS=balance measures it.
func TestSlowStart(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		for _, slow := range []bool{false, true} {
			s := webService()
			s.Annotations = "kube-ipvs/scheduler: lc"
			if slow {
				s.Name, s.Number = "slow", 2
				s.Annotations += ", kube-ipvs/slow-start: 5s"
			}
			for _, r := range []request{{from: bed.C1, network: "tcp", to: s.ClusterIP().V4}, {from: bed.Ext, network: "tcp", to: s.LoadBalancer().V4}} {
				serve(t, d, testbed.Backends(bed.P1, bed.P2), s)
				keep(t, r, 100, 0)
				serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), s)
				got := keep(t, r, 240, 50*time.Millisecond)
				each := by20(got, "r1")
				t.Logf("%s, slow start %t: the new endpoint gets of each twenty connections %v", r, slow, each)
				switch most := slices.Max(each); {
				case !slow && most < 18:
					t.Errorf("%s: without slow start the new endpoint gets %d of twenty connections at most: this is no flood", r, most)
				case slow && most > 12:
					t.Errorf("%s: the new endpoint gets %d of twenty connections, want 12 at most", r, most)
				case most == 0:
					t.Errorf("%s: the new endpoint gets none", r)
				}
				withdraw(t, d, s)
			}
		}
	})
}

// keep opens connections that stay open, with a pause between them, and returns their
// endpoints in turn.
func keep(t *testing.T, r request, n int, pause time.Duration) (names []string) {
	t.Helper()
	for range n {
		s, err := r.from.Dial(t.Context(), r.network, r.to, r.with)
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		t.Cleanup(s.Reset)
		names = append(names, s.First.Name)
		time.Sleep(pause) // new clients come so often
	}
	return names
}

// by20 counts a name in each twenty.
func by20(names []string, name string) (out []int) {
	for twenty := range slices.Chunk(names, 20) {
		n := 0
		for _, is := range twenty {
			if is == name {
				n++
			}
		}
		out = append(out, n)
	}
	return out
}
