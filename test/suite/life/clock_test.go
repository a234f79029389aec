package life

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/test/lib/testbed"
)

// A clock that is set forward and back by hours makes nothing old: probes stay
// 200, ages stay small, and changes are programmed. No test runs beside this one:
// there is one clock.
func TestClockJumps(t *testing.T) {
	if !testbed.OwnKernel() {
		t.Skip("the clock is that of the machine")
	}
	n := newNode(t, "direct")
	n.enrich()
	n.start()
	n.settled()
	for i, jump := range []string{"+7 hours", "-14 hours", "+7 hours"} {
		n.sh("date -s '%s'", jump)
		n.put("new.yaml", manifest(spec{name: "late", ips: both(40), ports: []corev1.ServicePort{tcp("a", 80+int32(i), 0)}, endpoints: there(1, 2, 3)}))
		n.await(func() error {
			out := n.sh("ipvsadm -Ln")
			if at := fmt.Sprintf("%s:%d ", n.server(40), 80+i); !strings.Contains(out, at) {
				return fmt.Errorf("after %s there is no %s in\n%s", jump, at, out)
			}
			return nil
		})
		for _, probe := range []string{"livez", "healthz", "readyz"} {
			if code := n.sh("curl -s -o /dev/null -w '%%{http_code}' http://127.0.0.1:10256/%s", probe); code != "200" {
				t.Errorf("after %s: %s is %s", jump, probe, code)
			}
		}
		for _, age := range []string{"kube_ipvs_last_audit_age_seconds", "kube_ipvs_oldest_drain_age_seconds"} {
			text := n.sh("curl -s http://127.0.0.1:10249/metrics | sed -n 's/^%s //p'", age)
			if v, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil || v > 600 {
				t.Errorf("after %s: %s is %q, %v", jump, age, text, err)
			}
		}
	}
	n.settled()
}
