package wire

import (
	"flag"
	"regexp"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

var howMany = flag.Int("connections", 1000, "how many TestFlowsOutliveOneOfThreeNodes and TestCountsLong hold: make test-connections")

// sloppy has a node schedule what has begun elsewhere.
const sloppy = "sysctl -w net.ipv4.vs.sloppy_tcp=1"

// TestFlowsOutliveOneOfThreeNodes holds connections that a router spreads over three nodes, one of
// which is lost. The router then spreads them over the other two, so that flows of those move as
// well. With mh and sloppy_tcp they go on; without sloppy_tcp none that moves does. The nodes do
// not masquerade, and answers come back by the node that the flow has moved to.
func TestFlowsOutliveOneOfThreeNodes(t *testing.T) {
	testbed.Long(t, "make test-connections")
	rebuildAfter(t)
	edge, err := bed.AddEdge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range testbed.Variants(t, true) {
		t.Run(v.ClusterIPServers+" "+v.VIPBinding, func(t *testing.T) {
			to := serveAtEdge(t, edge, "--cluster-ip-servers", v.ClusterIPServers, "--vip-binding", v.VIPBinding)
			few := loseOne(t, edge, holdByEdge(t, edge, to, *howMany/10, 40000))
			t.Logf("without sloppy_tcp %+v", few)
			if few.ofLost*10 < few.held || few.ofLostLiving*10 > few.ofLost {
				t.Errorf("without sloppy_tcp %+v: want most of the lost node's flows to end, or the test tells nothing", few)
			}
			for _, h := range edge.Nodes {
				on(t, h, sloppy)
			}
			all := loseOne(t, edge, holdByEdge(t, edge, to, *howMany, 20000))
			t.Logf("with sloppy_tcp %+v", all)
			if all.living*100 < all.held*99 {
				t.Errorf("with sloppy_tcp %+v: want 99 %% of them living", all)
			}
			if all.takenOn <= all.ofLost {
				t.Errorf("with sloppy_tcp %+v: want flows of other nodes taken on as well, or the test tells nothing", all)
			}
		})
	}
}

// serveAtEdge makes the nodes of the edge anew and runs kube-ipvs on each. The first has followed
// a change of endpoints, the others have started since. It returns a ClusterIP with mh.
func serveAtEdge(t *testing.T, edge *testbed.Edge, flags ...string) testbed.Frontend {
	t.Helper()
	if err := edge.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir, s := t.TempDir(), webService()
	s.Annotations = "kube-ipvs/scheduler: mh"
	publish := func(hosts ...*testbed.Host) {
		t.Helper()
		if err := testbed.Put(dir, s.Name+".yaml", bed.With(s, testbed.Backends(hosts...))); err != nil {
			t.Fatal(err)
		}
	}
	publish(bed.R1)
	var daemons []*hosted
	for i, h := range edge.Nodes {
		daemons = append(daemons, runAt(t, h, dir, append(flags, "--cluster-cidr", "192.168.60.0/24,fd60::/64")...))
		if i == 0 {
			publish(bed.P1, bed.P2, bed.R1)
		}
	}
	for _, d := range daemons {
		d.settled(t)
	}
	return s.ClusterIP()
}

// holdByEdge opens connections of the client behind the router, of which each fourth is of IPv6.
func holdByEdge(t *testing.T, edge *testbed.Edge, to testbed.Frontend, n, firstPort int) (out []*testbed.Session) {
	t.Helper()
	for i := range n {
		s, err := edge.Client.Dial(t.Context(), "tcp", to.Addr(i%4 > 0), testbed.From{Port: uint16(firstPort + i)})
		if err != nil {
			t.Fatalf("connection %d to %s: %v", i, to.Addr(i%4 > 0), err)
		}
		t.Cleanup(s.Reset)
		out = append(out, s)
	}
	return out
}

// fate is what becomes of connections when a node is lost: how many were held, had come by the
// lost node and of these live on, another node than before has taken on, and live on.
type fate struct{ held, ofLost, ofLostLiving, takenOn, living int }

// loseOne takes the last node away, uses the connections, and brings the node back.
func loseOne(t *testing.T, edge *testbed.Edge, sessions []*testbed.Session) fate {
	t.Helper()
	last := len(edge.Nodes) - 1
	var before, after []map[string]bool
	for _, h := range edge.Nodes {
		before = append(before, clientPorts(t, h))
	}
	spread := func(over ...*testbed.Host) {
		t.Helper()
		if err := edge.Spread(t.Context(), over...); err != nil {
			t.Fatal(err)
		}
	}
	spread(edge.Nodes[:last]...)
	out := fate{held: len(sessions)}
	for i, err := range useAll(sessions) {
		cameByLost, lives := before[last][sessions[i].Port()], err == nil
		if lives {
			out.living++
		}
		if cameByLost {
			out.ofLost++
		}
		if cameByLost && lives {
			out.ofLostLiving++
		}
	}
	for _, h := range edge.Nodes[:last] {
		after = append(after, clientPorts(t, h))
	}
	for _, s := range sessions {
		for i := range after {
			if after[i][s.Port()] && !before[i][s.Port()] {
				out.takenOn++
			}
		}
	}
	spread(edge.Nodes...)
	return out
}

// listedPort is the first of a connection's in what conntrack lists.
var listedPort = regexp.MustCompile(`sport=(\d+) dport=80 `)

// clientPorts returns the ports of the clients whose connections a node has carried.
func clientPorts(t *testing.T, h *testbed.Host) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for line := range strings.Lines(on(t, h, "conntrack -L -p tcp --dport 80 2>/dev/null; conntrack -L -f ipv6 -p tcp --dport 80 2>/dev/null")) {
		if m := listedPort.FindStringSubmatch(line); m != nil {
			out[m[1]] = true
		}
	}
	return out
}
