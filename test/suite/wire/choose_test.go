package wire

import (
	"fmt"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// choice is a set of endpoints and those of them that may answer; no client is refused.
type choice struct {
	name     string
	backends []testbed.Backend
	spec     string
	want     []string
}

func in(h *testbed.Host, state string) testbed.Backend {
	return testbed.Backend{Host: h, State: state}
}

func zoned(h *testbed.Host, zones ...string) testbed.Backend {
	return testbed.Backend{Host: h, Zones: zones}
}

// chosen publishes a Service for each of the choices and asks all.
func chosen(t *testing.T, d *testbed.Daemon, choices []choice) {
	t.Helper()
	for i, c := range choices {
		s := testbed.Service{Name: fmt.Sprintf("choice%d", i), Number: i + 1}
		if c.spec != "" {
			s.Spec = []string{c.spec}
		}
		put(t, d, s.Name+".yaml", bed.With(s, c.backends))
	}
	settled(t, d)
	for i, c := range choices {
		t.Run(c.name, func(t *testing.T) {
			rs := requests([]testbed.Frontend{testbed.Service{Number: i + 1}.ClusterIP()}, bed.C1)
			if c.want == nil {
				refused(t, 1, rs...)
			} else {
				answered(t, rs, bed.C1, c.want...)
			}
		})
	}
}

// TestTerminating checks which states of endpoints serve.
func TestTerminating(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		chosen(t, d, []choice{
			{"ready before terminating", []testbed.Backend{in(bed.P1, "terminating"), in(bed.P2, "")}, "", []string{"p2"}},
			{"terminating as a last resort", []testbed.Backend{in(bed.P1, "terminating"), in(bed.R1, "terminating")}, "", []string{"p1", "r1"}},
			{"terminating before not serving", []testbed.Backend{in(bed.P1, "terminating"), in(bed.P2, "dead")}, "", []string{"p1"}},
			{"not serving never", []testbed.Backend{in(bed.P1, "dead")}, "", nil},
			{"not ready never", []testbed.Backend{in(bed.P1, "unready")}, "", nil},
			{"ready before not ready", []testbed.Backend{in(bed.P1, "unready"), in(bed.R1, "")}, "", []string{"r1"}},
			{"local and terminating before remote and ready", []testbed.Backend{in(bed.P1, "terminating"), in(bed.R1, "")}, "internalTrafficPolicy: Local", []string{"p1"}},
		})
	})
}

// TestTerminatingLive takes an endpoint through the end of its life.
func TestTerminatingLive(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "ending", Number: 1, Type: "NodePort"}
		rs := requests(s.Frontends(), bed.C1, bed.Ext)
		for _, step := range []struct {
			p1, p2 string
			want   []string
		}{
			{"", "", []string{"p1", "p2"}},
			{"terminating", "", []string{"p2"}},
			{"terminating", "terminating", []string{"p1", "p2"}},
			{"dead", "terminating", []string{"p2"}},
			{"dead", "", []string{"p2"}},
		} {
			serve(t, d, []testbed.Backend{in(bed.P1, step.p1), in(bed.P2, step.p2)}, s)
			answered(t, rs, anyone, step.want...)
		}
	})
}

// TestTopology checks that hints choose endpoints, and that incomplete ones
// do not.
func TestTopology(t *testing.T) {
	node := func(h *testbed.Host, nodes ...string) testbed.Backend {
		return testbed.Backend{Host: h, Nodes: nodes, Zones: []string{"here"}}
	}
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		chosen(t, d, []choice{
			{"of this zone", []testbed.Backend{zoned(bed.P1, "here"), zoned(bed.P2, "there"), zoned(bed.R1, "there", "here")}, "", []string{"p1", "r1"}},
			{"no hint for this zone", []testbed.Backend{zoned(bed.P1, "there"), zoned(bed.R1, "elsewhere")}, "", []string{"p1", "r1"}},
			{"one without hints", []testbed.Backend{zoned(bed.P1, "here"), zoned(bed.P2, "there"), zoned(bed.R1)}, "", []string{"p1", "p2", "r1"}},
			{"of this node", []testbed.Backend{node(bed.P1, "node2"), node(bed.P2, "node"), node(bed.R1, "node2")}, "", []string{"p2"}},
			{"incomplete for nodes, complete for zones", []testbed.Backend{node(bed.P1, "node"), zoned(bed.P2, "here"), zoned(bed.R1, "there")}, "", []string{"p1", "p2"}},
			{"policy Local knows no zones", []testbed.Backend{zoned(bed.P1, "there"), zoned(bed.R1, "here")}, "internalTrafficPolicy: Local", []string{"p1"}},
		})
	}, "--zone", "here")
}

// TestZoneOfNode checks that the zone is read from the Node and followed.
func TestZoneOfNode(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "zoned", Number: 1}
		rs := requests([]testbed.Frontend{s.ClusterIP()}, bed.C1)
		backends := []testbed.Backend{zoned(bed.P1, "a"), zoned(bed.R1, "b")}
		serve(t, d, backends, s)
		answered(t, rs, bed.C1, "p1", "r1")
		for zone, want := range map[string]string{"a": "p1", "b": "r1"} {
			put(t, d, "node.yaml", fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: node, labels: {topology.kubernetes.io/zone: %s}}\n", zone))
			settled(t, d)
			answered(t, rs, bed.C1, want)
		}
	})
}
