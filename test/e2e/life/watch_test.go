package life

import (
	"testing"
	"time"
)

// watch asks kube-ipvs of every node for its health for a while, as the kubelet does.
func watch(t *testing.T, d time.Duration) {
	t.Helper()
	const enough = 3 // answers of each, in any time
	end := time.Now().Add(d)
	for asked := 0; asked < enough || time.Now().Before(end); asked++ {
		for _, node := range nodes {
			for _, path := range []string{"livez", "readyz"} {
				if code := on(t, node, "curl -s -o /dev/null -m 20 -w '%%{http_code}' http://127.0.0.1:10256/%s", path); code != "200" {
					t.Errorf("%s: /%s answers %s", node, path, code)
				}
			}
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Second):
		}
	}
}
