package source

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func TestClusterNextServer(t *testing.T) {
	bad, good := newFakeAPI(t), newFakeAPI(t)
	good.put(apiService("web"), apiNode("here"))
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"503": denied(503, metav1.StatusReasonServiceUnavailable, "starting"),
		"503 with Retry-After": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "30")
			refuse(w, 503, metav1.StatusReasonServiceUnavailable, "starting")
			return true
		},
		"hangs up": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			bad.setFault(fault)
			r, _ := startAPI(t, bad.URL, good.URL)
			r.awaitSynced(t)
			r.awaitNames(t, "here web")
			r.awaitWell(t)
		})
	}
	t.Run("refuses connections", func(t *testing.T) {
		bad.Close()
		r, _ := startAPI(t, bad.URL, good.URL)
		r.awaitSynced(t)
	})
	t.Run("none", func(t *testing.T) {
		r, _ := startAPI(t, bad.URL)
		r.awaitProblem(t, strings.TrimPrefix(bad.URL, "http://"))
		r.awaitProblem(t, "since")
	})
}

// A server that begins to answer and does not go on is left, too.
func TestClusterServerHangs(t *testing.T) {
	was := listTimeout
	listTimeout = 300 * time.Millisecond
	t.Cleanup(func() { listTimeout = was })
	bad, good := newFakeAPI(t), newFakeAPI(t)
	good.put(apiService("web"), apiNode("here"))
	bad.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = w.Write([]byte(`{"kind":`))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	r, _ := startAPI(t, bad.URL, good.URL)
	r.awaitSynced(t)
	r.awaitNames(t, "here web")
	r.awaitWell(t)
}

// The source stays with a server that works, and leaves it when it fails.
func TestClusterServerDies(t *testing.T) {
	one, two := newFakeAPI(t), newFakeAPI(t)
	for _, f := range []*fakeAPI{one, two} {
		f.put(apiService("web"), apiNode("here"))
	}
	r, _ := startAPI(t, one.URL, two.URL)
	r.awaitSynced(t)
	if n := two.count(); n != 0 {
		t.Errorf("the second server was asked %d times without need", n)
	}
	two.put(apiService("new"))
	one.end()
	r.awaitNames(t, "here new web")
	r.awaitWell(t)
}

func TestClusterFieldSelector(t *testing.T) {
	f := newFakeAPI(t)
	f.fault = on("/services", func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Query().Get("fieldSelector") != "" && denied(400, metav1.StatusReasonBadRequest, "field label not supported: spec.clusterIP")(w, r)
	})
	r := followAPI(t, f, apiService("web"))
	r.awaitWell(t)
	f.put(apiService("new"))
	r.awaitNames(t, "here new web")
	if f.count("/services", "fieldSelector=spec.clusterIP%21%3DNone", "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&") == 0 {
		t.Error("the selectors were never asked for")
	}
}

func TestClusterSelectors(t *testing.T) {
	for name, want := range map[string]string{
		"":      "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&",
		"other": "labelSelector=service.kubernetes.io%2Fservice-proxy-name%3Dother&",
	} {
		f := newFakeAPI(t)
		web := apiService("web")
		web.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": name}
		f.put(web, apiNode("here"))
		src, err := API(APIOptions{Configs: []*rest.Config{{Host: f.URL}}, NodeName: "here", ServiceProxyName: name})
		must(t, err)
		r := newRecorder()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = src.Run(ctx, r) }()
		r.awaitSynced(t)
		if f.count("/services", want) == 0 || f.count("/endpointslices", "labelSelector=%21service.kubernetes.io%2Fheadless&") == 0 || f.count("/nodes", "fieldSelector=metadata.name%3Dhere") == 0 {
			f.look(func() { t.Errorf("asked %q", f.requests) })
		}
		r.look(func() {
			// A proxy leaves those with the label alone, unless it is the one that is meant.
			if l := r.objects[service("web")].Service.Labels; name != "" && len(l) != 0 {
				t.Errorf("labels %v", l)
			}
		})
		cancel()
		<-done
	}
}

const kubeconfig = `{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: "https://10.0.0.9:6443"}}],
users: [{name: u, user: {token: secret}}], contexts: [{name: c, context: {cluster: c, user: u}}]}`

func TestLoadConfigs(t *testing.T) {
	path := t.TempDir() + "/kubeconfig"
	write(t, path, kubeconfig)
	for name, c := range map[string]struct {
		options ClientOptions
		hosts   string
	}{
		"as it says": {ClientOptions{Kubeconfig: path}, "https://10.0.0.9:6443"},
		"servers":    {ClientOptions{Kubeconfig: path, Servers: []string{"10.0.0.1:6443", "https://10.0.0.2"}}, "https://10.0.0.1:6443 https://10.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.QPS, c.options.Burst, c.options.UserAgent = 7, 9, "kube-ipvs/1"
			configs, err := LoadConfigs(c.options)
			must(t, err)
			var hosts []string
			for _, c := range configs {
				hosts = append(hosts, c.Host)
				if c.BearerToken != "secret" || c.QPS != 7 || c.Burst != 9 || c.UserAgent != "kube-ipvs/1" || c.ContentType != "application/vnd.kubernetes.protobuf" {
					t.Errorf("%+v", c)
				}
			}
			if got := strings.Join(hosts, " "); got != c.hosts {
				t.Errorf("hosts %s", got)
			}
		})
	}
	if _, err := LoadConfigs(ClientOptions{Kubeconfig: path + "x"}); err == nil || !strings.Contains(err.Error(), path+"x") {
		t.Errorf("a kubeconfig that is not there: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := LoadConfigs(ClientOptions{}); err == nil {
		t.Error("neither kubeconfig nor pod, and no error")
	}
	if _, err := API(APIOptions{}); err == nil {
		t.Error("no server, and no error")
	}
}
