package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
	"kube-ipvs/test/lib/showcase"
)

// ask requests a path of the page.
func ask(t testing.TB, p *status.Page, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	w := httptest.NewRecorder()
	p.Handlers()[r.URL.Path].ServeHTTP(w, r)
	return w
}

// view asks for the JSON form.
func view(t testing.TB, p *status.Page, query string) status.View {
	t.Helper()
	w := ask(t, p, "/state?"+query)
	var v status.View
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %v %s", query, w.Code, err, w.Body)
	}
	return v
}

// names returns those of the Service ports of a view.
func names(v status.View) []string {
	out := []string{}
	for _, s := range v.Services {
		out = append(out, s.Service)
	}
	return out
}

// in runs a test on a node with so many Services, with time at hand.
func in(t *testing.T, mode desired.Mode, services int, test func(*testing.T, *showcase.Node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := showcase.New(mode)
		defer n.Close()
		n.Tell(showcase.Many(services, 3)...)
		time.Sleep(time.Minute) // what was asked for meanwhile is not fresh any more
		test(t, n)
		time.Sleep(2 * time.Minute) // it forgets
	})
}

func TestPaging(t *testing.T) {
	in(t, desired.Image, 120, func(t *testing.T, n *showcase.Node) {
		for _, tt := range []struct {
			query, first   string
			page, services int
		}{
			{"", "ns0/svc-00000:http", 1, 50},
			{"page=2", "ns0/svc-00050:http", 2, 50},
			{"page=3", "ns1/svc-00100:http", 3, 20},
			{"page=4", "ns1/svc-00100:http", 3, 20}, // the last one: Services may have gone meanwhile
			{"page=99999", "ns1/svc-00100:http", 3, 20},
		} {
			v := view(t, n.Page, tt.query)
			if v.Page != tt.page || v.Pages != 3 || v.Total != 120 || v.Found != 120 || len(v.Services) != tt.services || v.Services[0].Service != tt.first {
				t.Errorf("%q: page %d of %d, %d of %d found, %d Services from %s", tt.query, v.Page, v.Pages, v.Found, v.Total, len(v.Services), v.Services[0].Service)
			}
			time.Sleep(time.Minute)
		}
		body := ask(t, n.Page, "/?page=2&problems=0&refresh=5").Body.String()
		for _, want := range []string{`rel="prev" href="?refresh=5"`, `rel="next" href="?page=3&amp;refresh=5"`, "Page 2 of 3", `href="state?page=2"`,
			`<meta http-equiv="refresh" content="5">`, "120 Service ports: 51 to 100"} {
			if !strings.Contains(body, want) {
				t.Errorf("the second page has no %s", want)
			}
		}
	})
}

func TestSearch(t *testing.T) {
	in(t, desired.Image, 300, func(t *testing.T, n *showcase.Node) {
		n.Troubles()
		for _, tt := range []struct {
			q    string
			want []string
		}{
			{"svc-00017", []string{"ns0/svc-00017:http"}},
			{"NS2/SVC-00217", []string{"ns2/svc-00217:http"}},
			{"10.96.0.5", []string{"ns0/svc-00005:http"}},
			{"10.96.0.5:80", []string{"ns0/svc-00005:http"}},
			{"10.96.0.5:80/tcp", []string{"ns0/svc-00005:http"}},
			{"10.96.0.5:80/udp", []string{}},
			{"10.96.0.5:81", []string{}},
			{"242.96.0.5", []string{"ns0/svc-00005:http"}}, // its virtual server
			{"30003", []string{"ns0/svc-00039:http"}},
			{":30003", []string{"ns0/svc-00039:http"}},
			{"*:30003", []string{"ns0/svc-00039:http"}},
			{"192.168.50.1:30003", []string{"ns0/svc-00039:http"}},
			{"[fd50::1]:30003", []string{}},                     // it is a Service of IPv4
			{"10.129.0.5", []string{"ns0/svc-00005:http"}},      // an endpoint
			{"10.129.0.5:8080", []string{"ns0/svc-00005:http"}}, // an endpoint
			{"10.129.0.5:8081", []string{}},
			{"shop 443", []string{"shop/cart:http", "shop/copy:http"}},
			{"shop 203.0.113.10", []string{"shop/cart:http"}},
			{"203.0.113.10", []string{"shop/cart:http"}},
			{"no such", []string{}},
		} {
			if diff := cmp.Diff(tt.want, names(view(t, n.Page, "q="+url.QueryEscape(tt.q)))); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tt.q, diff)
			}
			time.Sleep(3 * time.Second)
		}
		v := view(t, n.Page, "q=svc-001")
		if v.Found != 100 || v.Total != 305 || v.Pages != 2 || v.Query != "svc-001" {
			t.Errorf("a part of a name: %d of %d, %d pages, for %q", v.Found, v.Total, v.Pages, v.Query)
		}
	})
}

// With problems are Services whose objects are wrong, whose writes fail, and
// that turn clients away.
func TestProblems(t *testing.T) {
	in(t, desired.Direct, 100, func(t *testing.T, n *showcase.Node) {
		n.Troubles()
		v := view(t, n.Page, "problems=1")
		want := []string{"shop/copy:http", "shop/empty:http", "shop/odd:http"}
		if diff := cmp.Diff(want, names(v)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !v.Troubled || v.Found != len(want) || !strings.Contains(v.Services[0].Problems[0], "spec.externalIPs: external IP 203.0.113.10:443/tcp is left out") {
			t.Errorf("%+v", v)
		}
		if got := v.Services[1].Frontends[0].Notes; len(got) != 1 || got[0] != "refused: no endpoint anywhere" {
			t.Errorf("notes %q", got)
		}
		if v.ProblemsFound != 4 || len(v.Problems) != 4 || v.Failing.Count == 0 || v.Failing.Objects[0].Write != "add virtual server 10.90.0.14:80/tcp rr" {
			t.Errorf("problems %+v, failing %+v", v.Problems, v.Failing)
		}
		if len(v.Drift) != 1 || v.Drift[0].Object != "entry KIPVS-ALL 10.90.0.13,tcp:80" || v.Drift[0].What != "is gone" || v.LastAudit.IsZero() {
			t.Errorf("drift %+v, last audit %v", v.Drift, v.LastAudit)
		}
		if v.Draining != 1 || !v.Health.Healthy || !v.Health.Ready || v.Objects["virtual server"] < 100 {
			t.Errorf("draining %d, health %+v, objects %v", v.Draining, v.Health, v.Objects)
		}
		if d := v.Drains; len(d) != 1 || d[0].Endpoint != "10.244.3.9:8080" || d[0].Server != "10.90.0.10:443/tcp" || d[0].Service != "shop/cart:http" || d[0].Since.IsZero() {
			t.Errorf("drains %+v", d)
		}
		if v := view(t, n.Page, "q=fastest"); v.ProblemsFound != 1 || v.Problems[0].Object != "Service shop/odd" || v.Found != 0 {
			t.Errorf("the problems that a search finds: %+v", v.Problems)
		}
		body := ask(t, n.Page, "/?q=shop/c").Body.String()
		for _, want := range []string{"<details open><summary><span>2, <strong class=\"warn\">1 draining</strong>", "<span class=\"why\">draining</span>", "dropped from outside: external policy Local",
			"traffic from outside, policy Local", "problem</a>", "fail</a>"} {
			if !strings.Contains(body, want) {
				t.Errorf("the page has no %s", want)
			}
		}
	})
}

// The page shows the balance: why an endpoint takes less than its full part, its limit, and its
// share of the connections.
func TestBalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := showcase.New(desired.Direct)
		defer n.Close()
		n.Balance()
		var got []string
		for _, s := range view(t, n.Page, "q=shop").Services {
			for _, e := range s.Frontends[0].Servers[0].Endpoints {
				got = append(got, fmt.Sprintf("%s weight %d%s (%s)", e.Address.Addr(), e.Weight, e.Note(), e.Standing))
			}
		}
		want := []string{
			"10.244.1.1 weight 2, at its limit of 1 (at_limit)",
			"10.244.1.1 weight 0, draining (draining)",
			"10.244.1.2 weight 0, ejected, since it does not answer (ejected)",
			"10.244.1.3 weight 40, at most 1000 ()",
			"10.244.1.4 weight 40, at most 1000 ()",
			"10.244.1.5 weight 2, slow start, at most 1000 (slow_start)",
			"10.244.1.6 weight 0, by a weight rule (zero_weight)",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		body := ask(t, n.Page, "/?q=shop").Body.String()
		for _, want := range []string{"<summary><span>3, <strong class=\"warn\">1 draining</strong>, 1 with weight 0, 1 ejected, 1 in slow start</span></summary>",
			"<tr class=\"less\"><td><code>10.244.1.6:8080</code><span class=\"why\">by a weight rule</span></td>", "<strong class=\"warn\">1 at the limit</strong>", "aria-label=\"100 % of the connections\""} {
			if !strings.Contains(body, want) {
				t.Errorf("the page has no %s", want)
			}
		}
	})
}

var script = regexp.MustCompile(`(?i)<(script|img|iframe|object)|\son[a-z]+=['"]?[a-z]`)

var quoted = regexp.MustCompile(`"[^"]*"`)

// Whatever names, problems and searches hold, it stays text.
func TestHostileNames(t *testing.T) {
	in(t, desired.Direct, 1, func(t *testing.T, n *showcase.Node) {
		n.Troubles()
		query := url.Values{"q": {showcase.Hostile}}.Encode()
		for _, path := range []string{"/", "/?" + query, "/?q=666"} {
			body := ask(t, n.Page, path).Body.String()
			escaped := html.EscapeString(showcase.Hostile)
			if !strings.Contains(strings.ReplaceAll(html.UnescapeString(body), "\n", ""), showcase.Hostile) {
				t.Errorf("%s: the name %s is not shown", path, escaped)
			}
			for _, found := range regexp.MustCompile(`<[^>]*>`).FindAllString(body, -1) {
				if script.MatchString(quoted.ReplaceAllString(found, "")) {
					t.Errorf("%s: %s", path, found)
				}
			}
			if strings.Contains(body, "ZgotmplZ") || strings.Contains(body, "<script") || strings.Contains(body, "style=") {
				t.Errorf("%s: something is not as it should be", path)
			}
		}
		if w := ask(t, n.Page, "/state"); strings.Contains(w.Body.String(), "<script") {
			t.Errorf("the JSON has markup in it")
		}
	})
}

func TestHeadersAndMethods(t *testing.T) {
	in(t, desired.Image, 1, func(t *testing.T, n *showcase.Node) {
		for path, h := range n.Page.Handlers() {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "PROPFIND"} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("q=x")))
				want := http.StatusMethodNotAllowed
				if method == http.MethodGet || method == http.MethodHead {
					want = http.StatusOK
				} else if w.Header().Get("Allow") != "GET, HEAD" {
					t.Errorf("%s %s: allows %q", method, path, w.Header().Get("Allow"))
				}
				if w.Code != want {
					t.Errorf("%s %s: %d, want %d", method, path, w.Code, want)
				}
				for name, part := range map[string]string{"Content-Security-Policy": "default-src 'none'; style-src 'sha256-", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
					if got := w.Header().Get(name); !strings.HasPrefix(got, part) {
						t.Errorf("%s %s: %s: %q", method, path, name, got)
					}
				}
			}
			for _, bad := range []string{"page=0", "page=-1", "page=x", "problems=maybe", "q=" + strings.Repeat("x", 201), "q=a+b+c+d+e+f+g+h+i", "refresh=-1", "refresh=99999"} {
				if w := ask(t, n.Page, path+"?"+bad); w.Code != http.StatusBadRequest || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("%s?%s: %d %s", path, bad, w.Code, w.Header())
				}
			}
		}
	})
}

// A kernel that does not answer, or says no, is told; what is known besides is
// shown, and the next who asks is answered.
func TestKernelCannotBeRead(t *testing.T) {
	in(t, desired.Image, 10, func(t *testing.T, n *showcase.Node) {
		n.Kernel.Break(errors.New("no <permission>"))
		n.Proxier.Audit() // which fails too: nothing is written until it succeeds
		n.Await(func(r *report.Round) bool { return r.Err != nil })
		if body := ask(t, n.Page, "/?q=x").Body.String(); !strings.Contains(body, "The loop cannot read the kernel:</strong> read the programmed objects: no &lt;permission&gt;") {
			t.Errorf("a failed read is not told: %s", body)
		}
		for path, part := range map[string]string{"/": "<strong>The kernel cannot be read:</strong> no &lt;permission&gt;", "/state": `"error": "no \u003cpermission\u003e"`} {
			if w := ask(t, n.Page, path); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), part) || !strings.Contains(w.Body.String(), showcase.NodeName) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		n.Kernel.Break(nil)
		time.Sleep(3 * time.Second)
		release := n.Kernel.Hold()
		if w := ask(t, n.Page, "/"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "deadline exceeded") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		w := httptest.NewRecorder()
		n.Page.Handlers()["/state"].ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/state", nil).WithContext(gone))
		release()
		time.Sleep(3 * time.Second)
		if w := ask(t, n.Page, "/"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// Before the first round, and with nothing to serve, there is a page as well.
func TestEmptyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := showcase.New(desired.Image)
		defer n.Close()
		body := ask(t, n.Page, "/").Body.String()
		for _, want := range []string{"Not ready", "nothing has been programmed yet", "No Service is programmed.", "not compared with the kernel yet", "None yet."} {
			if !strings.Contains(body, want) {
				t.Errorf("no %q in %s", want, body)
			}
		}
		v := view(t, n.Page, "")
		if v.Page != 1 || v.Pages != 1 || v.Total != 0 || len(v.Services) != 0 || v.Services == nil || v.Rounds == nil || v.Drift == nil || v.Problems == nil || v.Drains == nil || v.Failing.Objects == nil {
			t.Errorf("%+v", v)
		}
		time.Sleep(2 * time.Minute)
	})
}

// The daemon's page and the command state say the same of a Service.
func TestSameAsTheCommand(t *testing.T) {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		in(t, mode, 45, func(t *testing.T, n *showcase.Node) {
			s, err := n.Kernel.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns := map[state.ID]status.Connections{}
			_ = n.Kernel.EachReal(t.Context(), func(real state.ID, active, inactive uint32) {
				conns[real] = status.Connections{Active: active, Inactive: inactive}
			})
			want := status.Arrange(desired.Config{Images: desired.DefaultImages, IPv6: true}, s, conns)
			less := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
			got := view(t, n.Page, "")
			if diff := cmp.Diff(want.Services, got.Services, less); diff != "" || len(want.Services) != 45 {
				t.Errorf("%s (-command +page):\n%s", mode, diff)
			}
			if diff := cmp.Diff(want.Objects, got.Objects); diff != "" {
				t.Errorf("%s (-command +page):\n%s", mode, diff)
			}
		})
	}
}
