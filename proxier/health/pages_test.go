package health

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"
)

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.Int("v", 2, "")
		flags.StringSlice("cidr", []string{"10.0.0.0/8"}, "")
		h := Pages{
			Version: "v1.2.3", Mode: "ipvs", Started: time.Now(), Flags: flags,
			Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, "metrics") }),
			Config:  func() (any, any) { return map[string]string{"mode": "ipvs"}, map[string]int{"rows": 7} },
			More:    map[string]http.Handler{"/state": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, "state") })},
		}.Handler()
		time.Sleep(25*time.Hour + 3*time.Minute + 4*time.Second)
		const head = "This page is for people to read. Its form may change at any time.\n\n"
		for path, want := range map[string]string{
			"/healthz": "ok", "/proxyMode": "ipvs", "/metrics": "metrics", "/state": "state",
			"/configz": `{"kube-ipvs":{"rows":7},"kubeproxy.config.k8s.io":{"mode":"ipvs"}}`,
			"/flagz":   "\nkube-ipvs flagz\n" + head + "cidr=[10.0.0.0/8]\nv=2\n",
			"/statusz": "\nkube-ipvs statusz\n" + head + "Started: Sat Jan  1 00:00:00 UTC 2000\nUp: 25 hr 03 min 04 sec\n" +
				"Go version: " + runtime.Version() + "\nBinary version: v1.2.3\nPaths: /configz /flagz /healthz /metrics /proxyMode /state /statusz\n",
		} {
			w := get(t, h, path)
			if w.Code != 200 || w.Body.String() != want {
				t.Errorf("%s: %d %q\nwant %q", path, w.Code, w.Body, want)
			}
			kind := "text/plain; charset=utf-8"
			if path == "/configz" {
				kind = "application/json"
			}
			if got := w.Header().Get("Content-Type"); got != kind {
				t.Errorf("%s: type %q", path, got)
			}
		}
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/flags/v", "/", "/nothing"} {
			if w := get(t, h, path); w.Code != 404 {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	})
}

// A page at the root is that of no other path.
func TestRootPage(t *testing.T) {
	h := Pages{More: map[string]http.Handler{"/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, "root") })}}.Handler()
	for path, want := range map[string]int{"/": 200, "/?q=x": 200, "/nothing": 404, "/healthz": 200, "/healthz/": 404} {
		if w := get(t, h, path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	if w := get(t, h, "/statusz"); !strings.Contains(w.Body.String(), "Paths: / /healthz /statusz\n") {
		t.Errorf("statusz: %s", w.Body)
	}
}

func TestConfigzThatCannotBeShown(t *testing.T) {
	h := Pages{Config: func() (any, any) { return make(chan int), nil }}.Handler()
	if w := get(t, h, "/configz"); w.Code != 500 || !strings.Contains(w.Body.String(), "cannot be shown") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestDebugPages(t *testing.T) {
	level := new(slog.LevelVar)
	h := Pages{Profiling: true, Level: level}.Handler()
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
		if w := get(t, h, path); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	put := func(method, body string, code int, want slog.Level) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/debug/flags/v", strings.NewReader(body)))
		if w.Code != code || level.Level() != want {
			t.Errorf("%s %q: %d %s, level %s", method, body, w.Code, w.Body, level)
		}
	}
	put(http.MethodPut, "4", 200, slog.LevelDebug)
	put(http.MethodPut, "loud", 400, slog.LevelDebug)
	put(http.MethodPut, "-1", 400, slog.LevelDebug)
	put(http.MethodPut, strings.Repeat("0", 100), 400, slog.LevelDebug)
	put(http.MethodGet, "", 405, slog.LevelDebug)
	put(http.MethodPost, "2", 405, slog.LevelDebug)
	put(http.MethodPut, " 3\n", 200, slog.LevelInfo)
	put(http.MethodPut, "9", 200, slog.LevelDebug)
	var out map[string]any
	if err := json.Unmarshal(get(t, Pages{Config: func() (any, any) { return nil, nil }}.Handler(), "/configz").Body.Bytes(), &out); err != nil || len(out) != 2 {
		t.Errorf("configz without anything: %v %v", out, err)
	}
}
