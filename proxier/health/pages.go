package health

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Pages has the pages of the metrics address. A field that is nil or empty has no page.
type Pages struct {
	Version   string
	Mode      string                      // the answer of /proxyMode, such as ipvs
	Started   time.Time                   // start of the process; zero: the call of Handler
	Metrics   http.Handler                // Metrics.Handler
	Config    func() (kubeProxy, own any) // for /configz, as JSON: the KubeProxyConfiguration in effect, and the settings of kube-ipvs
	Flags     *pflag.FlagSet              // parsed; it must not change any more
	Profiling bool                        // serve /debug/pprof and /debug/flags/v
	Level     *slog.LevelVar              // set by /debug/flags/v
	More      map[string]http.Handler     // other pages, by path
}

const (
	configzKubeProxy = "kubeproxy.config.k8s.io"
	configzOwn       = "kube-ipvs"
)

// Handler serves the pages.
func (p Pages) Handler() http.Handler {
	if p.Started.IsZero() {
		p.Started = time.Now()
	}
	mux := http.NewServeMux()
	var paths []string
	page := func(path string, h http.HandlerFunc) {
		paths = append(paths, path)
		if path == "/" {
			path = "/{$}" // "/" would match all unknown paths
		}
		mux.HandleFunc(path, h)
	}
	if p.Metrics != nil {
		page("/metrics", p.Metrics.ServeHTTP)
	}
	page("/healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, "ok") })
	if p.Mode != "" {
		page("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { plain(w, p.Mode) })
	}
	if p.Config != nil {
		page("/configz", p.configz)
	}
	if p.Flags != nil {
		page("/flagz", p.flagz)
	}
	for path, h := range p.More {
		page(path, h.ServeHTTP)
	}
	if p.Profiling {
		p.debug(page, mux)
	}
	slices.Sort(paths)
	page("/statusz", func(w http.ResponseWriter, _ *http.Request) { p.statusz(w, paths) })
	return mux
}

func (p Pages) debug(page func(string, http.HandlerFunc), mux *http.ServeMux) {
	page("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if p.Level != nil {
		page("/debug/flags/v", p.verbosity)
	}
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, text) // on an error the client has gone
}

func (p Pages) configz(w http.ResponseWriter, _ *http.Request) {
	kubeProxy, own := p.Config()
	text, err := json.Marshal(map[string]any{configzKubeProxy: kubeProxy, configzOwn: own})
	if err != nil {
		http.Error(w, "configuration cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text)
}

// forPeople is the beginning of /flagz and /statusz.
const forPeople = "\nkube-ipvs %s\nThis page is for people to read. Its form may change at any time.\n\n"

func (p Pages) flagz(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	fmt.Fprintf(&b, forPeople, "flagz")
	p.Flags.VisitAll(func(f *pflag.Flag) { fmt.Fprintf(&b, "%s=%s\n", f.Name, f.Value) })
	plain(w, b.String())
}

func (p Pages) statusz(w http.ResponseWriter, paths []string) {
	var b strings.Builder
	fmt.Fprintf(&b, forPeople, "statusz")
	fmt.Fprintf(&b, "Started: %s\n", p.Started.UTC().Format(time.UnixDate))
	up := time.Since(p.Started)
	fmt.Fprintf(&b, "Up: %d hr %02d min %02d sec\n", int(up.Hours()), int(up.Minutes())%60, int(up.Seconds())%60)
	fmt.Fprintf(&b, "Go version: %s\nBinary version: %s\n", runtime.Version(), cmp.Or(p.Version, "unknown"))
	fmt.Fprintf(&b, "Paths: %s\n", strings.Join(paths, " "))
	plain(w, b.String())
}

// debugVerbosity is the least verbosity of klog for debugging, by the conventions of
// Kubernetes.
const debugVerbosity = 4

// verbosity sets the log level by PUT, as a number of klog.
func (p Pages) verbosity(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", http.MethodPut)
		http.Error(w, "the log level is set by PUT", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64))
	if err != nil {
		http.Error(w, "the log level cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(body)), 10, 8)
	if err != nil {
		http.Error(w, fmt.Sprintf("%q is not a log level: that is a number, and from %d on debug messages are logged", body, debugVerbosity), http.StatusBadRequest)
		return
	}
	level := slog.LevelInfo
	if v >= debugVerbosity {
		level = slog.LevelDebug
	}
	p.Level.Set(level)
	plain(w, fmt.Sprintf("verbosity is %d now: level %s\n", v, level))
}
