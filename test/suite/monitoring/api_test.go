package monitoring

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// serveAPI serves the objects of the cluster's folder, on node2 and for it, as an API
// server lists them. Nothing changes; versions are soon too old, so that it is asked
// for lists again and again.
func serveAPI(t *testing.T, c *cluster) (url string) {
	t.Helper()
	objects := readObjects(t, c.folder)
	objects["nodes"] = []any{map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "node2", "resourceVersion": "1"}}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		q := r.URL.Query()
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"kind": "Event", "apiVersion": "events.k8s.io/v1"}`))
		case q.Get("sendInitialEvents") == "true": // of a feature that this server lacks
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid", "message": "sendInitialEvents is forbidden"}`))
		case q.Get("watch") != "":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(2 * time.Second):
			}
			_, _ = w.Write([]byte(`{"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}}`))
		default:
			_ = json.NewEncoder(w).Encode(list(resource, objects[resource]))
		}
	}))
	err := c.bed.Node2.Do(func() (err error) {
		_ = server.Listener.Close()
		server.Listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

func list(resource string, items []any) map[string]any {
	version, kind := "v1", map[string]string{"services": "ServiceList", "nodes": "NodeList"}[resource]
	if resource == "endpointslices" {
		version, kind = "discovery.k8s.io/v1", "EndpointSliceList"
	}
	return map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]string{"resourceVersion": "1"}, "items": items}
}

// readObjects reads Services and EndpointSlices from a folder, by resource.
func readObjects(t *testing.T, folder string) map[string][]any {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			var o map[string]any
			if err := yaml.Unmarshal([]byte(strings.TrimPrefix(part, "---\n")), &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			resource := map[any]string{"Service": "services", "EndpointSlice": "endpointslices"}[o["kind"]]
			if resource == "" {
				continue
			}
			meta := o["metadata"].(map[string]any)
			meta["namespace"], meta["resourceVersion"] = "default", "1"
			all[resource] = append(all[resource], o)
		}
	}
	return all
}

func kubeconfigOf(url string) string {
	return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "` + url + `"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
}
