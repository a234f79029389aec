package wire

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// get asks by HTTP, from a host.
func get(h *testbed.Host, to netip.AddrPort, path string) (code int, header http.Header, body string, err error) {
	err = h.Do(func() error {
		conn, err := net.DialTimeout("tcp", to.String(), testbed.Limit(testbed.Timeout))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(testbed.Limit(10 * time.Second)))
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		p, err := io.ReadAll(r.Body)
		code, header, body = r.StatusCode, r.Header, string(p)
		return err
	})
	return code, header, body, err
}

// TestHealthCheckNodePort asks as load balancers do, in both families, whether this
// node has ready endpoints of a Service with external policy Local. The node drops
// packets that no rule accepts.
func TestHealthCheckNodePort(t *testing.T) {
	d := start(t)
	shut(t, "nft")
	s := testbed.Service{Name: "web", Number: 1, Type: "LoadBalancer", Spec: []string{"externalTrafficPolicy: Local", "healthCheckNodePort: 31999"}}
	at := []netip.AddrPort{netip.AddrPortFrom(bed.Node.IPv4, 31999), netip.AddrPortFrom(bed.Node.IPv6, 31999)}
	for _, step := range []struct {
		backends []testbed.Backend
		code     int
		local    int
	}{
		{testbed.Backends(bed.P1, bed.P2, bed.R1), http.StatusOK, 2},
		{testbed.Backends(bed.R1), http.StatusServiceUnavailable, 0},
		{[]testbed.Backend{{Host: bed.P1, State: "published"}, {Host: bed.R1}}, http.StatusOK, 1},
	} {
		serve(t, d, step.backends, s)
		for _, to := range at {
			var header http.Header
			var body string
			await(t, func() error {
				var code int
				var err error
				code, header, body, err = get(bed.Ext, to, "/")
				if err == nil && code != step.code {
					err = fmt.Errorf("%s: %d, want %d: %s", to, code, step.code, body)
				}
				return err
			})
			var answer struct {
				Service            struct{ Namespace, Name string }
				LocalEndpoints     int
				ServiceProxyHealth bool `json:"serviceProxyHealthy"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Service.Name != "web" || answer.LocalEndpoints != step.local || !answer.ServiceProxyHealth {
				t.Errorf("%s: %s %v", to, body, err)
			}
			if w := header.Get("X-Load-Balancing-Endpoint-Weight"); w != fmt.Sprint(step.local) {
				t.Errorf("%s: weight %q, want %d", to, w, step.local)
			}
		}
	}
	withdraw(t, d, s)
	port := testbed.Frontend{Name: "health-check node port", V4: at[0], V6: at[1]}
	lost(t, tcpOnly(requests([]testbed.Frontend{port}, bed.Ext))...) // neither answered nor refused
}

func await(t *testing.T, check func() error) {
	t.Helper()
	if err := testbed.Await(t.Context(), 10*time.Second, check); err != nil {
		t.Fatal(err)
	}
}

var metricsAt = netip.MustParseAddrPort("127.0.0.1:10249")

// series returns the values of all series of a metric that have a text in
// their labels.
func series(t *testing.T, metric, labels string) []string {
	t.Helper()
	code, _, body, err := get(bed.Node, metricsAt, "/metrics")
	if err != nil || code != http.StatusOK {
		t.Fatalf("metrics: %d, %v", code, err)
	}
	var out []string
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if strings.HasPrefix(name, metric+"{") && strings.Contains(name, labels) {
			out = append(out, value)
		}
	}
	return out
}

// connections returns how many a Service has had, by its one TCP port.
func connections(t *testing.T, service string) float64 {
	t.Helper()
	var n float64
	got := series(t, "kube_ipvs_service_connections_total", `port="tcp",service="`+service+`"`)
	if len(got) != 1 {
		t.Fatalf("%s has the series %q, want one", service, got)
	}
	if _, err := fmt.Sscan(got[0], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTrafficMetrics counts connections, by Service and by endpoint, and
// packets only where all of them are counted.
func TestTrafficMetrics(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		direct := strings.HasSuffix(t.Name(), "/direct")
		// A real server that comes back soon goes on counting where it was, some
		// seconds later: these virtual servers are of this test alone.
		number := 21
		if !direct {
			number = 23
		}
		s := testbed.Service{Name: "web", Number: number, Protocols: []string{"TCP"}}
		out := testbed.Service{Name: "out", Number: number + 1, Protocols: []string{"TCP"}, Type: "NodePort"}
		serve(t, d, testbed.Backends(bed.P1, bed.P2), s, out)
		before := map[string]float64{}
		for _, s := range []string{"web", "out"} {
			before[s] = connections(t, s)
		}
		const n = 10
		for range n {
			for _, to := range []netip.AddrPort{s.ClusterIP().V4, out.NodePort().V6} {
				if _, err := bed.Ext.Ask(t.Context(), "tcp", to, testbed.From{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		await(t, func() error { // the kernel adds up every few seconds
			for s, was := range before {
				if now := connections(t, s); now != was+n {
					return fmt.Errorf("%s: %v connections after %v, want %d more", s, now, was, n)
				}
				endpoints := series(t, "kube_ipvs_endpoint_connections_total", `service="`+s+`"`)
				if len(endpoints) < 2 {
					return fmt.Errorf("%s: endpoints %q", s, endpoints)
				}
			}
			return nil
		})
		if got := series(t, "kube_ipvs_service_packets_total", `service="web"`); (len(got) == 2) != direct {
			t.Errorf("packets of a ClusterIP: %q", got)
		}
		if got := series(t, "kube_ipvs_service_packets_total", `service="out"`); len(got) != 0 {
			t.Errorf("packets that IPVS does not see are counted: %q", got)
		}
	}, "--traffic-metrics=endpoint")
}
