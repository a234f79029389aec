package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
)

// By kube-proxy's rule a family that nodePortAddresses does not name is served
// everywhere.
func TestWhere(t *testing.T) {
	const addrs = "127.0.0.1 192.168.1.5 10.1.1.1 ::1 fd00::5 fe80::5"
	tests := []struct {
		name, prefixes, want string
		one                  bool // no IPv6
		err                  error
		lists                int
	}{
		{name: "all", want: "tcp4 0.0.0.0:30000, tcp6 [::]:30000"},
		{name: "no IPv6", one: true, want: "tcp4 0.0.0.0:30000"},
		{name: "all by prefix", prefixes: "0.0.0.0/0 ::/0", want: "tcp4 0.0.0.0:30000, tcp6 [::]:30000"},
		{name: "all among others", prefixes: "10.0.0.0/8 0.0.0.0/0", want: "tcp4 0.0.0.0:30000, tcp6 [::]:30000"},
		{name: "one family", prefixes: "192.168.0.0/16 10.0.0.0/8", want: "tcp4 10.1.1.1:30000, tcp4 192.168.1.5:30000, tcp6 [::]:30000", lists: 1},
		{name: "both", prefixes: "192.168.0.0/16 fd00::/8", want: "tcp4 192.168.1.5:30000, tcp6 [fd00::5]:30000", lists: 1},
		{name: "none of the node", prefixes: "172.16.0.0/12 fd00::/8", want: "tcp6 [fd00::5]:30000", lists: 1},
		{name: "link-local", prefixes: "10.0.0.0/8 fe80::/10", want: "tcp4 10.1.1.1:30000", lists: 1},
		{name: "primary", prefixes: "192.168.1.5/32 fd00::5/128", want: "tcp4 192.168.1.5:30000, tcp6 [fd00::5]:30000", lists: 1},
		{name: "addresses unknown", prefixes: "192.168.0.0/16", err: errors.New("no netlink"), want: "tcp4 0.0.0.0:30000, tcp6 [::]:30000", lists: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(!tt.one)
				defer w.stop()
				w.set(tt.prefixes, addrs, tt.err)
				w.checks(check("web", 30000, 1))
				w.expect(t, tt.want)
				if w.lists != tt.lists {
					t.Errorf("addresses were listed %d times, want %d", w.lists, tt.lists)
				}
			})
		})
	}
}

func TestPortsFollowChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		w.checks()
		w.expect(t, "")
		w.checks(check("a", 30001, 1), check("b", 30002, 0))
		w.expect(t, "tcp4 0.0.0.0:30001, tcp4 0.0.0.0:30002")
		_, opens := w.net.counts()

		// Counts change, and ports go from one to the other: nothing is opened or closed.
		w.checks(check("a", 30002, 5), check("b", 30001, 7))
		if _, now := w.net.counts(); now != opens {
			t.Errorf("%d more were opened", now-opens)
		}
		for port, want := range map[uint16]report.HealthCheck{30001: check("b", 30001, 7), 30002: check("a", 30002, 5)} {
			if got := *w.open[netip.AddrPortFrom(netip.IPv4Unspecified(), port)].check.Load(); got != want {
				t.Errorf("port %d answers for %v, want %v", port, got, want)
			}
		}
		// An aborted round says nothing of checks.
		w.Observe(&report.Round{Err: errors.New("no netlink")})
		synctest.Wait()
		w.expect(t, "tcp4 0.0.0.0:30001, tcp4 0.0.0.0:30002")

		w.checks(check("b", 30003, 7))
		w.expect(t, "tcp4 0.0.0.0:30003")
		w.checks()
		w.expect(t, "")
		w.checks(check("b", 30003, 7))
		w.stop()
		w.expect(t, "")
	})
}

func TestPortsFollowAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(true)
		defer w.stop()
		w.set("10.0.0.0/8 fd00::/8", "10.0.0.1 fd00::1", nil)
		w.checks(check("a", 30001, 1))
		w.expect(t, "tcp4 10.0.0.1:30001, tcp6 [fd00::1]:30001")

		w.set("10.0.0.0/8 fd00::/8", "10.0.0.2 10.0.0.3 fd00::1", nil)
		for range 100 { // pods start
			w.Refresh()
			synctest.Wait()
		}
		w.expect(t, "tcp4 10.0.0.1:30001, tcp6 [fd00::1]:30001") // too soon for another list
		time.Sleep(addressesEvery)
		synctest.Wait()
		w.expect(t, "tcp4 10.0.0.2:30001, tcp4 10.0.0.3:30001, tcp6 [fd00::1]:30001")
		if w.lists != 2 {
			t.Errorf("addresses were listed %d times", w.lists)
		}

		// While addresses cannot be read those known stay.
		w.set("10.0.0.0/8 fd00::/8", "", errors.New("no netlink"))
		time.Sleep(addressesEvery)
		w.Refresh()
		synctest.Wait()
		w.expect(t, "tcp4 10.0.0.2:30001, tcp4 10.0.0.3:30001, tcp6 [fd00::1]:30001")
		w.set("10.0.0.0/8 fd00::/8", "10.0.0.2", nil)
		time.Sleep(addressesEvery)
		synctest.Wait()
		w.expect(t, "tcp4 10.0.0.2:30001")

		// From some addresses to all: the way must be clear first.
		w.set("", "", nil)
		w.checks(check("a", 30001, 1))
		w.expect(t, "tcp4 0.0.0.0:30001, tcp6 [::]:30001")
		if ps := w.ListenProblems(); len(ps) != 0 {
			t.Errorf("problems %v", ps)
		}
	})
}

func TestPortTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		defer w.stop()
		w.net.take("tcp4 0.0.0.0:30001", true)
		w.checks(check("a", 30001, 1), check("b", 30002, 1))
		w.expect(t, "tcp4 0.0.0.0:30002")
		want := model.Problem{Object: "Service default/a", Field: "spec.healthCheckNodePort",
			Message: "load balancers get no answer at 0.0.0.0:30001: address already in use; it is tried again"}
		if ps := w.ListenProblems(); len(ps) != 1 || ps[0] != want {
			t.Errorf("problems %v", ps)
		}
		tries, _ := w.net.counts()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if now, _ := w.net.counts(); now-tries < 10 || now-tries > 20 { // 1+2+4+8+16 s, then each 30 s
			t.Errorf("%d tries in five minutes", now-tries)
		}
		if ps := w.ListenProblems(); len(ps) != 1 || ps[0] != want {
			t.Errorf("problems %v", ps)
		}
		w.net.take("tcp4 0.0.0.0:30001", false)
		time.Sleep(retryLast)
		synctest.Wait()
		w.expect(t, "tcp4 0.0.0.0:30001, tcp4 0.0.0.0:30002")
		if ps := w.ListenProblems(); len(ps) != 0 {
			t.Errorf("problems %v", ps)
		}
		if w.changes != 2 {
			t.Errorf("told of %d changes, want that of the problem and of its end", w.changes)
		}
		// Who does not want it any more has no problem.
		w.net.take("tcp4 0.0.0.0:30003", true)
		w.checks(check("a", 30003, 1))
		if ps := w.ListenProblems(); len(ps) != 1 {
			t.Errorf("problems %v", ps)
		}
		w.checks()
		if ps := w.ListenProblems(); len(ps) != 0 {
			t.Errorf("problems %v", ps)
		}
	})
}

func TestTwoServicesOnePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		defer w.stop()
		at := netip.AddrPortFrom(netip.IPv4Unspecified(), 30001)
		w.checks(check("b", 30001, 1))
		w.checks(check("a", 30001, 2), check("b", 30001, 1))
		if got := w.open[at].check.Load().Key.Name; got != "b" {
			t.Errorf("%s answers; b had the port first", got)
		}
		want := "Service default/a: spec.healthCheckNodePort: Service default/b has port 30001 too: kube-ipvs answers for that Service only"
		if ps := w.ListenProblems(); len(ps) != 1 || ps[0].String() != want {
			t.Errorf("problems %v", ps)
		}
		// Who looks at a Service is not told of those in other namespaces.
		foreign := check("a", 30001, 2)
		foreign.Key.Namespace = "another"
		w.checks(foreign, check("b", 30001, 1))
		want = "Service another/a: spec.healthCheckNodePort: a Service in another namespace has port 30001 too: kube-ipvs answers for that Service only"
		if ps := w.ListenProblems(); len(ps) != 1 || ps[0].String() != want {
			t.Errorf("problems %v", ps)
		}
		w.checks(check("a", 30001, 2))
		if got := w.open[at].check.Load().Key.Name; got != "a" || len(w.ListenProblems()) != 0 {
			t.Errorf("%s answers, problems %v", got, w.ListenProblems())
		}
		if _, opens := w.net.counts(); opens != 1 {
			t.Errorf("the port was opened %d times", opens)
		}
	})
}

// A listener that the system takes away is opened again.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(false)
		defer w.stop()
		w.checks(check("a", 30001, 1))
		w.net.fail("tcp4 0.0.0.0:30001")
		synctest.Wait()
		w.expect(t, "")
		if ps := w.ListenProblems(); len(ps) != 1 || !strings.Contains(ps[0].Message, "gone") {
			t.Errorf("problems %v", ps)
		}
		time.Sleep(retryFirst)
		synctest.Wait()
		w.expect(t, "tcp4 0.0.0.0:30001")
	})
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask returns an answer and its body.
func ask(url string) (*http.Response, string, error) {
	r, err := client.Get(url)
	if err != nil {
		return nil, "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

func TestAnswers(t *testing.T) {
	var healthy atomic.Bool
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	prefixes := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	if ln, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		_ = ln.Close()
		addrs = append(addrs, netip.IPv6Loopback())
	}
	p := NewPorts(PortsConfig{
		Addresses: func() ([]netip.Addr, error) { return addrs, nil },
		IPv6:      true, Healthy: healthy.Load, Log: quiet(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	port := freePort(t)
	for _, tt := range []struct {
		name    string
		local   [2]int
		healthy bool
		codes   [2]int
	}{
		{"web", [2]int{2, 2}, true, [2]int{200, 200}}, {"web", [2]int{}, true, [2]int{503, 503}},
		{"web", [2]int{2, 0}, true, [2]int{200, 503}}, {"web", [2]int{0, 1}, true, [2]int{503, 200}}, // each family has its own endpoints
		{"other", [2]int{1, 1}, true, [2]int{200, 200}}, {"other", [2]int{1, 1}, false, [2]int{503, 503}},
	} {
		healthy.Store(tt.healthy)
		p.Observe(&report.Round{Checks: []report.HealthCheck{{Key: model.Key{Namespace: "default", Name: tt.name}, Port: port, Local: tt.local}}, NodePort: prefixes})
		for _, a := range addrs {
			local, code := tt.local[0], tt.codes[0]
			if a.Is6() {
				local, code = tt.local[1], tt.codes[1]
			}
			want := fmt.Sprintf(`{"service":{"namespace":"default","name":%q},"localEndpoints":%d,"serviceProxyHealthy":%v}`, tt.name, local, tt.healthy)
			for _, path := range []string{"/", "/healthz", "/any/path?x"} {
				var r *http.Response
				eventually(t, want, func() bool {
					var body string
					var err error
					r, body, err = ask(fmt.Sprintf("http://%s%s", netip.AddrPortFrom(a, port), path))
					return err == nil && body == want
				})
				if r.StatusCode != code || r.Header.Get("Content-Type") != "application/json" ||
					r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("X-Load-Balancing-Endpoint-Weight") != fmt.Sprint(local) {
					t.Errorf("%s %s: %d %v", a, path, r.StatusCode, r.Header)
				}
			}
		}
	}
	cancel()
	<-done
	for _, a := range addrs {
		ln, err := net.Listen("tcp", netip.AddrPortFrom(a, port).String())
		if err != nil {
			t.Errorf("after the end: %v", err)
			continue
		}
		_ = ln.Close()
	}
}
