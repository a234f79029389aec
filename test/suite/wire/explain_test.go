package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kube-ipvs/proxier/explain"
	"kube-ipvs/test/lib/testbed"
)

// explained runs explain with the daemon's flags.
func explained(t *testing.T, d *testbed.Daemon, args ...string) (out string, code int) {
	t.Helper()
	text, err := d.Command(t.Context(), "explain", args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(text), code
}

// TestExplainIsWhatHappens asks explain for the outcomes of clients of all kinds, and
// then has these ask: the endpoint, the source that it sees, refusals and silence must
// be as explain says.
func TestExplainIsWhatHappens(t *testing.T) {
	lan := `loadBalancerSourceRanges: ["192.168.50.0/24", "fd50::/64"]`
	local := []string{"externalTrafficPolicy: Local", "internalTrafficPolicy: Local"}
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		ranged := testbed.Service{Name: "ranged", Number: 1, Type: "LoadBalancer", External: true, Spec: []string{lan}}
		here := testbed.Service{Name: "here", Number: 2, Type: "LoadBalancer", Spec: local[:1]}
		away := testbed.Service{Name: "away", Number: 3, Type: "NodePort", Spec: local}
		empty := testbed.Service{Name: "empty", Number: 4, Type: "NodePort"}
		put(t, d, "here.yaml", bed.With(here, testbed.Backends(bed.P1, bed.R1)))
		put(t, d, "away.yaml", bed.With(away, testbed.Backends(bed.R1)))
		put(t, d, "empty.yaml", bed.With(empty, nil))
		serve(t, d, testbed.Backends(bed.P1), ranged)
		var told tally
		for _, s := range []testbed.Service{ranged, here, away, empty} {
			for _, from := range []*testbed.Host{bed.C1, bed.P1, bed.Node, bed.Ext} {
				four := s.Number%2 == 1 || from == bed.Ext // one family each: it takes time
				told.check(t, d, s, from, four)
			}
		}
		told.complete(t)
	}, "--iptables-backend", "nft") // to find it out takes most of the time of an explain
}

// tally counts the statements that came true.
type tally map[string]int

func (n *tally) check(t *testing.T, d *testbed.Daemon, s testbed.Service, from *testbed.Host, four bool) {
	t.Helper()
	client := from.IPv6
	if four {
		client = from.IPv4
	}
	out, code := explained(t, d, "default/"+s.Name, "--from", client.String(), "-o", "json")
	var e explain.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if *n == nil {
		*n = tally{}
	}
	var wg sync.WaitGroup
	for i := range e.Frontends {
		f := &e.Frontends[i]
		w := &f.Ways[0]
		(*n)[w.Outcome+" "+w.Masquerade]++
		wg.Go(func() { // clients that wait in vain wait side by side
			if err := cameTrue(t, f, w, from, client); err != nil {
				t.Errorf("%s from %s to %s %s: %v", s.Name, from.Name, f.Kind, w.To, err)
			}
		})
	}
	wg.Wait()
}

// cameTrue asks as a way says and compares.
func cameTrue(t *testing.T, f *explain.Frontend, w *explain.Way, from *testbed.Host, client netip.Addr) error {
	dial, _, _ := strings.Cut(w.To, "/")
	r := request{from: from, network: f.Protocol, to: ap(dial), with: testbed.From{Patience: time.Second}}
	if w.Outcome == explain.Dropped {
		r.with.Patience = 2 * fast
	}
	a, err := r.from.Ask(t.Context(), r.network, r.to, r.with)
	got := testbed.Outcome(a, err)
	want := map[string][]string{explain.Dropped: {"lost"}, explain.Refused: {"refused"}}[w.Outcome]
	if want != nil && r.nodeUDP() {
		want = append(want, "forbidden")
	}
	if w.Outcome != explain.Served {
		if !slices.Contains(want, got) {
			return fmt.Errorf("%s, and it was told %s: %s", got, w.Outcome, w.Why)
		}
		return nil
	}
	at := hostOf(got)
	if err != nil || at == nil {
		return fmt.Errorf("%s, and it was told that it is served", got)
	}
	endpoint := netip.AddrPortFrom(at.IP(client), testbed.TargetPort).String()
	if !given(f, w.Server, endpoint) {
		return fmt.Errorf("%s answered, which gets no traffic: %+v", endpoint, f.Servers)
	}
	masqueraded := w.Masquerade == "yes" || w.Masquerade == "some" && slices.Contains(w.Masqueraded, endpoint)
	source := client
	if masqueraded {
		source = bed.Node.IP(client)
	}
	if a.Peer.Addr() != source {
		return fmt.Errorf("the endpoint saw %s, and it was told masquerade %s: %s", a.Peer.Addr(), w.Masquerade, w.MasqueradeWhy)
	}
	return nil
}

func hostOf(name string) *testbed.Host {
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.R1} {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// given reports whether an endpoint is said to get connections.
func given(f *explain.Frontend, server, endpoint string) bool {
	for _, s := range f.Servers {
		for _, e := range s.Endpoints {
			if s.Address+"/"+s.Protocol == server && e.Address == endpoint && e.Chosen && e.Weight != nil && *e.Weight > 0 {
				return true
			}
		}
	}
	return false
}

// complete checks that clients of each fate were among those asked.
func (n tally) complete(t *testing.T) {
	t.Helper()
	for _, want := range []string{"served yes", "served no", "served some", "dropped ", "refused "} {
		if n[want] == 0 {
			t.Errorf("no client was told %q: %v", want, n)
		}
	}
}

// TestExplainNamesWhatIsBroken deletes objects by hand: explain names them, and its
// statements about clients come true.
func TestExplainNamesWhatIsBroken(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "web", Number: 1, Type: "NodePort", Protocols: []string{"TCP"}, Families: []string{"IPv4"}}
		serve(t, d, testbed.Backends(bed.P1, bed.R1), s)
		if out, code := explained(t, d, "default/web"); code != 0 || !strings.Contains(out, "No object differs.") {
			t.Fatalf("exit code %d: %s", code, out)
		}
		server := "10.96.0.101:80"
		if strings.HasSuffix(t.Name(), "image") {
			server = "242.96.0.101:80"
		}
		resume, err := d.Pause()
		if err != nil {
			t.Fatal(err)
		}
		defer resume()
		on(t, bed.Node, "ipvsadm -d -t "+server+" -r 10.244.1.31:8080; ipset del KIPVS-NODEPORT 128.0.0.0/1,tcp:30001")
		gone := "real server 10.244.1.31:8080 of " + server + "/tcp"
		out, code := explained(t, d, "10.96.0.101:80")
		if code != 2 || !strings.Contains(out, "missing "+gone) || strings.Contains(out, "KIPVS-NODEPORT") {
			t.Errorf("exit code %d, want 2 and the missing %s alone: %s", code, gone, out)
		}
		out, code = explained(t, d, "default/web", "--from", bed.Ext.IPv4.String())
		entry := "missing entry KIPVS-NODEPORT 128.0.0.0/1,tcp:30001"
		if code != 2 || !strings.Contains(out, gone) || !strings.Contains(out, entry) {
			t.Errorf("exit code %d, want 2 and both: %s", code, out)
		}
		// No Service has the node port now, and the ClusterIP has one endpoint left.
		refused(t, 1, request{from: bed.Ext, network: "tcp", to: s.NodePort().V4})
		if !strings.Contains(out, "handed to the node itself") {
			t.Errorf("it does not tell of that: %s", out)
		}
		answered(t, []request{{from: bed.C1, network: "tcp", to: s.ClusterIP().V4}}, bed.C1, "p1")
		if out, code := explained(t, d, "default/wab"); code != 1 || !strings.Contains(out, "kube-ipvs serves no Service default/wab: ") {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
}

// TestTop has a Service busy and looks for it.
func TestTop(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		s := testbed.Service{Name: "busy", Number: 1, Protocols: []string{"TCP"}, Families: []string{"IPv4"}}
		idle := testbed.Service{Name: "idle", Number: 2, Protocols: []string{"TCP"}, Families: []string{"IPv4"}}
		serve(t, d, testbed.Backends(bed.P1), s, idle)
		open, err := bed.C1.Dial(t.Context(), "tcp", s.ClusterIP().V4, testbed.From{})
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		stop := make(chan struct{})
		var asking sync.WaitGroup
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = bed.C1.Ask(t.Context(), "tcp", s.ClusterIP().V4, testbed.From{})
				}
			}
		})
		// The kernel sums up its counters when it likes: it may take a second look.
		err = testbed.Await(t.Context(), 30*time.Second, func() error {
			return busy(on(t, bed.Node, binary+" top --interval 2500ms -o json"), strings.HasSuffix(t.Name(), "direct"))
		})
		close(stop)
		asking.Wait()
		if err != nil {
			t.Error(err)
		}
	})
}

// busy checks that default/busy is at the top, and its figures.
func busy(out string, whole bool) error {
	var table struct {
		Services []struct {
			Service string   `json:"service"`
			New     float64  `json:"newPerSecond"`
			Active  *uint64  `json:"active"`
			BytesIn *float64 `json:"bytesInPerSecond"`
		} `json:"services"`
	}
	if err := json.Unmarshal([]byte(out), &table); err != nil || len(table.Services) != 2 {
		return fmt.Errorf("%w: %s", err, out)
	}
	first, second := table.Services[0], table.Services[1]
	switch {
	case first.Service != "default/busy" || first.New <= 0 || second.Service != "default/idle" || second.New != 0:
	case first.Active == nil || *first.Active == 0: // one is open all the time
	case second.Active == nil || *second.Active != 0:
	case (first.BytesIn != nil) != whole, whole && *first.BytesIn <= 0:
	default:
		return nil
	}
	return errors.New(out)
}
