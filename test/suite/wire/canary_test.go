package wire

import (
	"math"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// canary is a Deployment of two pods beside one of a single pod, r1.
func canary() []testbed.Backend {
	return []testbed.Backend{
		{Host: bed.P1, Pod: "web-7d4b9c8f6d-xk2p1"}, {Host: bed.P2, Pod: "web-7d4b9c8f6d-9tz5w"},
		{Host: bed.R1, Pod: "web-canary-5f7d8b6c4-hq8vd"},
	}
}

// ways returns a request by each kind of frontend: from a pod to the ClusterIP in both
// families, and from outside to the others.
func ways(s testbed.Service) []request {
	return []request{
		{from: bed.C1, network: "tcp", to: s.ClusterIP().V4}, {from: bed.C1, network: "tcp", to: s.ClusterIP().V6},
		{from: bed.Ext, network: "tcp", to: s.NodePort().V4}, {from: bed.Ext, network: "tcp", to: s.LoadBalancer().V4},
	}
}

// TestCanary gives a tenth of the connections to a canary, and half of them while clients
// ask all the time.
func TestCanary(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		weighted := func(percent string) testbed.Service {
			s := webService()
			s.Annotations = `kube-ipvs/weights: "workload=web-canary:` + percent + `%"`
			return s
		}
		shares := func(want float64) {
			t.Helper()
			for _, r := range ways(webService()) {
				got := connect(t, r, 600)
				got.expect(t, r.String(), "p1", "p2", "r1")
				if percent := 100 * float64(got["r1"]) / float64(got.sum()); math.Abs(percent-want) > 1 {
					t.Errorf("%s: %.1f %% of the connections go to the canary, want %.0f ± 1: %v", r, percent, want, got)
				}
				if one, other := got["p1"], got["p2"]; math.Abs(float64(one-other)) > 10 {
					t.Errorf("%s: the others differ: %v", r, got)
				}
			}
		}
		serve(t, d, canary(), weighted("10"))
		shares(10)
		end := stream(t, ways(webService()))
		for _, percent := range []string{"50", "100", "0", "50"} {
			serve(t, d, canary(), weighted(percent))
		}
		end().expect(t, "while weights change", "p1", "p2", "r1")
		shares(50)
	}, forgetful...)
}
