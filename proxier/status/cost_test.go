package status_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/status"
	"kube-ipvs/test/lib/showcase"
)

// A page of 10,000 Services costs what it shows: the virtual servers of 50, and
// the sets only when the loop has changed some or a while has passed.
func TestCostIsThatOfThePage(t *testing.T) {
	in(t, desired.Image, 10_000, func(t *testing.T, n *showcase.Node) {
		const servers = 50 + 5 // each tenth Service has a node port
		read := func(what, path string, want showcase.Reads) {
			t.Helper()
			n.Kernel.Reads()
			if w := ask(t, n.Page, path); w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", what, w.Code, w.Body)
			}
			if got := n.Kernel.Reads(); got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		read("at first", "/", showcase.Reads{Frontends: 1, Servers: 1, Asked: servers})
		read("the same again", "/", showcase.Reads{})
		read("another page", "/?page=77", showcase.Reads{Servers: 1, Asked: servers})
		read("as JSON", "/state?page=77", showcase.Reads{Servers: 1, Asked: servers})
		read("one Service", "/?q=svc-07123", showcase.Reads{Servers: 1, Asked: 1})
		time.Sleep(3 * time.Second)
		read("a moment later", "/", showcase.Reads{Servers: 1, Asked: servers})
		n.Tell(showcase.Service("zoo", "one", "10.90.0.1", 80, "10.244.0.1")...)
		read("after a change", "/", showcase.Reads{}) // the answer is fresh
		time.Sleep(3 * time.Second)
		read("a moment after a change", "/?q=zoo/one", showcase.Reads{Frontends: 1, Servers: 1, Asked: 1})
		read("an endpoint", "/?q=10.130.0.7", showcase.Reads{Servers: 1, All: 1, Asked: 1})
		time.Sleep(20 * time.Second)
		read("much later", "/", showcase.Reads{Frontends: 1, Servers: 1, Asked: servers})
		if body := ask(t, n.Page, "/?page=5").Body; strings.Count(body.String(), `<th scope="rowgroup"`) != 50 || body.Len() > 300_000 {
			t.Errorf("a page has %d bytes", body.Len())
		}
	})
}

// A Service of many endpoints or addresses does not make a page endless.
func TestLargeService(t *testing.T) {
	in(t, desired.Direct, 60, func(t *testing.T, n *showcase.Node) {
		var at []string
		for i := range 200 {
			at = append(at, fmt.Sprintf("10.200.%d.%d", i/250, i%250))
		}
		huge := showcase.Service("a", "huge", "10.90.0.1", 80, at...)
		for i := range 40 {
			huge[0].Service.Spec.ExternalIPs = append(huge[0].Service.Spec.ExternalIPs, fmt.Sprintf("203.0.113.%d", i))
		}
		n.Tell(huge...)
		time.Sleep(3 * time.Second)
		n.Kernel.Reads()
		body := ask(t, n.Page, "/?q=a/huge").Body.String()
		if got := n.Kernel.Reads(); got.Asked != 32 {
			t.Errorf("%d virtual servers were read", got.Asked)
		}
		if rows := strings.Count(body, "<tr><td><code>10.200."); rows != 32*31 || !strings.Contains(body, "169 more: search") || !strings.Contains(body, "9 more frontends are not shown") {
			t.Errorf("%d endpoints in %d bytes", rows, len(body))
		}
		if v := view(t, n.Page, "q=a/huge"); len(v.Services[0].Frontends) != 32 || v.Services[0].More != 9 || len(v.Services[0].Frontends[0].Servers[0].Endpoints) != 200 {
			t.Errorf("%d frontends and %d more", len(v.Services[0].Frontends), v.Services[0].More)
		}
	})
}

// Many viewers of one page cost one reading, and of many pages no more than
// wait for each other; the rest is refused.
func TestManyViewers(t *testing.T) {
	in(t, desired.Image, 100, func(t *testing.T, n *showcase.Node) {
		ask(t, n.Page, "/?page=2")
		n.Kernel.Reads()
		release := n.Kernel.Hold()
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 40 {
			wg.Go(func() {
				w := ask(t, n.Page, "/")
				mu.Lock()
				codes[w.Code]++
				mu.Unlock()
				if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
					t.Error("it does not say when to come again")
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		if diff := cmp.Diff(map[int]int{200: 16, 503: 24}, codes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := n.Kernel.Reads(); got.Servers != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// BenchmarkPage renders pages of 10,000 Services with ten endpoints each.
func BenchmarkPage(b *testing.B) {
	n := showcase.New(desired.Image)
	defer n.Close()
	n.Tell(showcase.Many(10_000, 10)...)
	for _, path := range []string{"/", "/state", "/?q=svc-09999", "/?q=10.137.0.7"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				p := status.NewPage(n.Config) // which has nothing at hand
				size = ask(b, p, path).Body.Len()
			}
			b.ReportMetric(float64(size), "B/page")
		})
		b.Run(path+" next", func(b *testing.B) {
			p := status.NewPage(n.Config)
			ask(b, p, path)
			at := 0
			for b.Loop() {
				at++
				sep := "?"
				if strings.Contains(path, "?") {
					sep = "&"
				}
				_, _ = io.Copy(io.Discard, ask(b, p, fmt.Sprintf("%s%spage=%d", path, sep, at%200+1)).Body)
			}
		})
	}
}
