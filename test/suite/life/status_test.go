package life

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/status"
)

// addresses compare with their text.
var comparable = cmp.Comparer(func(a, b status.Endpoint) bool { return a == b })

// After every change the page of a running daemon and the command state, which needs
// no daemon, say the same in the same words; and the page shows objects that have gone
// from the kernel as missing.
func TestStatusPage(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		d := n.start()
		n.settled()
		n.sameStatus()
		n.put("new.yaml", manifest(spec{name: "late", ips: both(40), ports: []corev1.ServicePort{tcp("a", 80, 0), udp("b", 53, 0)}, endpoints: there(1, 2, 3)}))
		n.remove("outside.yaml")
		n.settled()
		n.sameStatus()
		if body := n.sh("curl -s 'http://127.0.0.1:10249/?q=default/late'"); !strings.Contains(body, "default/late") || strings.Contains(body, "default/web") || !strings.Contains(body, "10.244.0.4:8080") {
			t.Errorf("a search for default/late shows\n%s", body)
		}
		if v := n.status("q=10.244.0.4:8053"); len(v.Services) != 2 {
			t.Errorf("behind an endpoint are %+v", v.Services)
		}
		n.sh("ipvsadm -D -t %s:80", n.server(40))
		n.await(func() error {
			if v := n.status("q=default/late:a"); len(v.Services) != 1 || v.Services[0].Frontends[0].Servers[0].Scheduler != status.Missing {
				return fmt.Errorf("%+v", v.Services)
			}
			return nil
		})
		n.signal(d, syscall.SIGHUP)
		n.await(func() error {
			if v := n.status(""); len(v.Drift) == 0 || !strings.Contains(fmt.Sprint(v.Drift), "virtual server "+n.server(40)+":80/tcp") || !v.Health.Ready {
				return fmt.Errorf("%+v", v)
			}
			return nil
		})
		n.settled()
		n.sameStatus()
		for path, code := range map[string]string{"/": "200", "/state": "200", "/metrics": "200", "/nothing": "404", "/state/": "404", "/?page=x": "400"} {
			if got := n.sh("curl -s -o /dev/null -w '%%{http_code}' 'http://127.0.0.1:10249%s'", path); got != code {
				t.Errorf("%s: %s, want %s", path, got, code)
			}
		}
		d.stop()
	})
}

func (n *node) status(query string) status.View {
	n.t.Helper()
	var v status.View
	if out := n.sh("curl -s 'http://127.0.0.1:10249/state?%s'", query); json.Unmarshal([]byte(out), &v) != nil {
		n.t.Fatalf("/state: %s", out)
	}
	return v
}

// sameStatus waits until page and command agree.
func (n *node) sameStatus() {
	n.t.Helper()
	n.await(func() error {
		out, code := n.kube("state", "-o", "json")
		var want status.Node
		if err := json.Unmarshal([]byte(out), &want); err != nil || code != 0 {
			n.t.Fatalf("state: %d %v %s", code, err, out)
		}
		got := n.status("")
		for i := range got.Services { // the command knows of none
			got.Services[i].Problems = nil
		}
		if diff := cmp.Diff(want.Services, got.Services, comparable); diff != "" || got.Total != len(want.Services) {
			return fmt.Errorf("%d Services (-command +page):\n%s", got.Total, diff)
		}
		if diff := cmp.Diff(want.Objects, got.Objects); diff != "" {
			return fmt.Errorf("objects (-command +page):\n%s", diff)
		}
		return nil
	})
}
