package life

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/test/lib/testbed"
)

// many returns n Services of four endpoints each. Every fifth has IPv6, every
// tenth a node port.
func many(n int) []spec {
	var out []spec
	for i := range n {
		s := spec{
			name: fmt.Sprintf("many-%d", i), ips: []string{fmt.Sprintf("10.96.%d.%d", 1+i/250, 1+i%250)},
			ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: append(here(4*i, 4*i+1), there(4*i+2, 4*i+3)...),
		}
		if i%5 == 0 {
			s.ips = append(s.ips, fmt.Sprintf("fd96::1:%x", i))
		}
		if i%10 == 0 {
			s.kind, s.ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{tcp("", 80, int32(30000+i))}
		}
		out = append(out, s)
	}
	return out
}

// A moment of a cold start is when a file that the kernel makes of the node's
// state, as the daemon sees it, first holds so many of something.
type moment struct {
	file string
	what string
	more int    // than so many
	only string // binding in which it comes
}

// moments are those of a start with 500 Services, in their order.
var moments = []moment{
	{file: "net/dev", what: "kube-ipvs0:"},
	{file: "net/ip_vs", what: "\nTCP", more: 400},
	{file: "net/ip_vs", what: "\n  ->", more: 1000},
	{file: "net/ip_vs", what: "\n  ->", more: 2200},
	{file: "net/if_inet6", what: "kube-ipvs0", more: 60, only: "address"},
	{file: "net/fib_trie", what: "/32 host LOCAL", more: 400},
}

// reached waits for the moment without a pause: the start does not take long. It may not be
// seen before the first round ends: kernels up to 6.12 at least leave lines of net/ip_vs out
// while other tests, in namespaces of theirs, have virtual servers.
func (m moment) reached(pid int, ended func() bool) bool {
	path := "/proc/" + strconv.Itoa(pid) + "/" + m.file
	for end := time.Now().Add(testbed.Limit(patience)); time.Now().Before(end); {
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		if bytes.Count(text, []byte(m.what)) > m.more || ended() {
			return true
		}
	}
	return false
}

// Killed in the middle of its first start, kube-ipvs finds the missing objects at the
// next, at any point of the first.
func TestKilledInAColdStart(t *testing.T) {
	services := manifest(many(500)...)
	inModes(t, func(t *testing.T, n *node) {
		n.put("many.yaml", services)
		d := n.start()
		n.settled()
		d.stop()
		want := n.snapshot()
		n.cleanup()
		cut := 0
		for i, m := range moments {
			if i > 0 && (i%2 == 0) != (n.mode == "direct") || m.only != "" && m.only != n.binding {
				continue // one mode each is enough, for the time it takes, but for the first, which is always seen
			}
			d := n.start()
			if !m.reached(d.pid, func() bool { return len(rounds(d.records())) > 0 }) {
				t.Fatalf("more than %d times %q in %s: never, and no end of the round", m.more, m.what, m.file)
			}
			d.kill()
			unfinished := len(rounds(d.records())) == 0
			if unfinished {
				cut++
			}
			d = n.start()
			r := d.first()
			t.Logf("killed at %q > %d, before the end of the round: %v; %d writes mended it", m.what, m.more, unfinished, r.Writes)
			if r.Failed != 0 {
				t.Errorf("the first round after the kill: %d writes failed", r.Failed)
			}
			d.stop()
			n.same("a killed start and another are not what one start is", want, n.snapshot())
			n.cleanup()
		}
		if cut == 0 {
			t.Errorf("no kill came before the end of the round")
		}
	})
}
