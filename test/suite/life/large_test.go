package life

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	largeServices  = 10000
	largeEndpoints = 10
	listed         = 1000              // Services in a file
	alone          = largeServices - 1 // the Service in a file of its own
)

// large returns Service number i of a large cluster.
func large(i int, endpoints []endpoint) spec {
	s := spec{name: fmt.Sprintf("large-%d", i), ips: []string{fmt.Sprintf("10.97.%d.%d", i/250, i%250+1)},
		ports: []corev1.ServicePort{tcp("", 80, 0)}, endpoints: endpoints}
	if i%20 == 0 {
		s.kind, s.ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{tcp("", 80, int32(20000+i/2))}
	}
	return s
}

// largeEndpointsOf gives Service i its ten endpoints, of some 2,000 pods.
func largeEndpointsOf(i int) []endpoint {
	var out []endpoint
	for j := range largeEndpoints {
		id := (i*7 + j*191) % 2000
		out = append(out, endpoint{id: id, here: id%100 == 0})
	}
	return out
}

// list is a JSON list of objects, which is quicker to read than YAML.
func list(t *testing.T, specs []spec) string {
	t.Helper()
	var items []any
	for _, s := range specs {
		items = append(items, s.objects()...)
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// The cost of a start depends on the number of writes, that of a change on its size,
// and that of a start over a programmed node does not grow with the number of
// Services. The test checks counts; it only prints times. One mode is enough: the
// other has the same objects at other addresses.
func TestCostOfALargeCluster(t *testing.T) {
	n := newNode(t, "direct")
	var specs []spec
	for i := range alone {
		specs = append(specs, large(i, largeEndpointsOf(i)))
		if len(specs) == listed || i == alone-1 {
			n.put(fmt.Sprintf("list-%05d.json", i), list(t, specs))
			specs = nil
		}
	}
	n.put("small.yaml", manifest(large(alone, largeEndpointsOf(alone))))
	d := n.start("--traffic-metrics=service", "--traffic-metrics-top=20000")
	cold(t, d)
	scrape(t, n, d)
	browse(t, n, d)
	change(t, n, d, "one endpoint", 1999)
	leave := n.viewers()
	change(t, n, d, "one endpoint while pages are read", 1998)
	leave()
	d.stop()
	d = n.start()
	warm := d.first()
	tell(t, "restart", warm)
	d.wroteNothing()
	if warm.Services != largeServices || warm.Messages >= 200 || warm.Processes > 10 {
		t.Errorf("a restart over a programmed node: %d services, %d messages, %d processes, want %d, less than 200, 10 at most",
			warm.Services, warm.Messages, warm.Processes, largeServices)
	}
	d.stop()
}

func tell(t *testing.T, what string, r record) {
	t.Helper()
	t.Logf("%s: took=%s services=%d writes=%d messages=%d sends=%d processes=%d", what, r.Took, r.Services, r.Writes, r.Messages, r.Sends, r.Processes)
}

// cold checks the first start. Reading the kernel is some fifty requests that
// cannot share a send.
func cold(t *testing.T, d *daemon) {
	t.Helper()
	r := d.first()
	tell(t, "cold start", r)
	objects := largeServices*(1+largeEndpoints) + 3*largeServices
	if r.Services != largeServices || r.Writes < objects || r.Failed != 0 {
		t.Fatalf("the first round: %d services, %d writes, %d failures, want %d, more than %d, 0", r.Services, r.Writes, r.Failed, largeServices, objects)
	}
	const reads = 100
	if most := r.Messages/200 + reads; r.Sends > most {
		t.Errorf("%d messages took %d sends, want %d at most", r.Messages, r.Sends, most)
	}
	if r.Processes > 10 {
		t.Errorf("%d processes were started", r.Processes)
	}
	ports := largeServices / 20 // node ports have virtual servers of their own
	want := fmt.Sprintf("%d\n%d\n", largeServices+ports, (largeServices+ports)*largeEndpoints)
	if got := d.n.sh("grep -c '^TCP' /proc/net/ip_vs; grep -c '^  -> [0-9A-F]*:' /proc/net/ip_vs"); got != want {
		t.Errorf("the kernel shows %q virtual and real servers, want %q", got, want)
	}
}

// scrape prints the cost of reading all metrics, with series for every Service.
func scrape(t *testing.T, n *node, d *daemon) {
	t.Helper()
	const scrapes = 10
	before := d.cpu()
	var lines string
	for range scrapes {
		lines = n.sh("curl -sf http://127.0.0.1:10249/metrics | grep -c '^kube_ipvs_service_'")
	}
	t.Logf("one of %d scrapes: %s of CPU", scrapes, (d.cpu()-before)/scrapes)
	var series int
	if _, err := fmt.Sscan(lines, &series); err != nil || series < largeServices {
		t.Errorf("%d series of Services, want one at least for each of %d", series, largeServices)
	}
}

// browse prints the cost of pages of the status page: those of 50 Services each, and
// one for which all real servers must be read.
func browse(t *testing.T, n *node, d *daemon) {
	t.Helper()
	const pages = 20
	look := func(what, paths string, count int) {
		t.Helper()
		before := d.cpu()
		out := n.sh("for path in %s; do curl -sf -o /dev/null -w '%%{time_total} ' \"http://127.0.0.1:10249/$path\"; done", paths)
		t.Logf("%s: %s of CPU each, in %s seconds", what, (d.cpu()-before)/time.Duration(count), out)
	}
	look("the first page of the status page", "''", 1)
	look("others", "$(for i in $(seq 2 21); do echo ?page=$i; done)", pages)
	look("others, as JSON", "$(for i in $(seq 22 41); do echo state?page=$i; done)", pages)
	look("one Service", "$(for i in $(seq 5001 5020); do echo ?q=large-$i; done)", pages)
	look("an endpoint", "?q=10.244.3.7", 1)
	if v := n.status("page=7&q=large-"); v.Found != largeServices || len(v.Services) != 50 || len(v.Services[0].Frontends[0].Servers[0].Endpoints) != largeEndpoints {
		t.Errorf("%d Services found, %d on a page", v.Found, len(v.Services))
	}
}

// cpu returns the daemon's CPU time: utime and stime, 14 and 15 of proc_pid_stat(5),
// in hundredths of a second.
func (d *daemon) cpu() time.Duration {
	d.n.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.pid))
	if err != nil {
		d.n.t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system time.Duration
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		d.n.t.Fatal(err)
	}
	return (user + system) * 10 * time.Millisecond
}

// viewers read one page of the status page after the other until they leave.
func (n *node) viewers() (leave func()) {
	n.t.Helper()
	cmd := n.command("sh", "-c", "while :; do for i in $(seq 200); do curl -sf -o /dev/null http://127.0.0.1:10249/?page=$i || exit 1; done; done")
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	return func() {
		n.t.Helper()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if cmd.ProcessState.Exited() {
			n.t.Error("a page was not served while the loop was at work")
		}
	}
}

// change exchanges one endpoint of one Service for another.
func change(t *testing.T, n *node, d *daemon, what string, id int) {
	t.Helper()
	endpoints := largeEndpointsOf(alone)
	endpoints[3] = endpoint{id: id}
	since := len(d.records())
	n.put("small.yaml", manifest(large(alone, endpoints)))
	r := d.awaitRound(since, func(r record) bool { return r.Services > 0 })
	tell(t, what, r)
	if r.Services != 1 || r.Messages > 5 || r.Processes != 0 || r.Writes != 2 || r.Full {
		t.Errorf("%s: %d services, %d messages, %d processes, %d writes, full=%v, want 1, 5 at most, 0, 2, false",
			what, r.Services, r.Messages, r.Processes, r.Writes, r.Full)
	}
}
