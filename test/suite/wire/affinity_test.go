package wire

import (
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestAffinity checks that a client keeps its endpoint while that exists and others
// come and go, and then gets one other.
func TestAffinity(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "sticky", Number: 1, Type: "LoadBalancer", Spec: []string{"sessionAffinity: ClientIP"}}
		serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), s)
		rs := append(requests([]testbed.Frontend{s.ClusterIP()}, bed.C1, bed.Ext), requests(s.Outside(), bed.Ext)...)
		first := make([]string, len(rs))
		for i, r := range rs {
			first[i] = glued(t, r)
		}
		serve(t, d, testbed.Backends(bed.P2, bed.R1), s)
		second := make([]string, len(rs))
		for i, r := range rs {
			if second[i] = glued(t, r); first[i] != "p1" && second[i] != first[i] {
				t.Errorf("%s: had %s and now has %s, though only p1 went", r, first[i], second[i])
			} else if second[i] == "p1" {
				t.Errorf("%s: p1 answers, which is no endpoint any more", r)
			}
		}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		for i, r := range rs {
			if third := glued(t, r); second[i] != "p2" && third != second[i] {
				t.Errorf("%s: had %s and now has %s, though only p2 went", r, second[i], third)
			} else if third == "p2" {
				t.Errorf("%s: p2 answers, which is no endpoint any more", r)
			}
		}
	})
}

// glued checks that ten requests have one endpoint, and returns it.
func glued(t *testing.T, r request) string {
	t.Helper()
	seen := map[string]bool{}
	for range 10 {
		seen[testbed.Outcome(r.from.Ask(t.Context(), r.network, r.to, r.with))] = true
	}
	names := sorted(seen)
	if len(names) != 1 {
		t.Fatalf("%s: %q, want one endpoint", r, names)
	}
	if names[0] != "p1" && names[0] != "p2" && names[0] != "r1" {
		t.Fatalf("%s: %s", r, names[0])
	}
	return names[0]
}
