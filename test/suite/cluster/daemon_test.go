package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

const (
	healthAddr  = "127.0.0.1:10256"
	metricsAddr = "127.0.0.1:10249"
)

// flags are those of a kube-ipvs on the bed's node.
func flags(kubeconfig string, more ...string) []string {
	return append([]string{
		"--kubeconfig", kubeconfig, "--hostname-override", bed.Node.Name,
		"--cluster-cidr", bed.PodCIDR4.String() + "," + bed.PodCIDR6.String(),
		"--healthz-bind-address", healthAddr, "--metrics-bind-address", metricsAddr,
	}, more...)
}

// start runs kube-ipvs against the shared control plane.
func start(t *testing.T, more ...string) *testbed.Daemon {
	t.Helper()
	return startWith(t, control.Kubeconfig(cluster.Admin), more...)
}

// startWith runs kube-ipvs until the test ends, and then removes its objects.
func startWith(t *testing.T, kubeconfig string, more ...string) *testbed.Daemon {
	t.Helper()
	d, err := testbed.Run(binary, flags(kubeconfig, more...)...)
	must(t, err)
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			log := d.Log()
			t.Logf("kube-ipvs said:\n%s", log[max(0, len(log)-20000):])
		}
		cleanup(t)
	})
	return d
}

func cleanup(t *testing.T) {
	t.Helper()
	if out, err := bed.Node.Shell(context.WithoutCancel(t.Context()), binary+" cleanup"); err != nil {
		t.Errorf("cleanup: %v %s", err, out)
	}
}

// settled waits until a kube-ipvs that starts now would write nothing.
func settled(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	var err error
	for range 3 { // each of them waits
		if err = d.Settled(t.Context()); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// metric returns the sum of the values of a metric of kube-ipvs.
func metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(strings.TrimSpace(rest), ' ')+1:], &value); err != nil {
			return 0, err
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	return sum, nil
}

// snapshot is the objects of the node as other tools show them, without random values.
func snapshot(t *testing.T) []string {
	t.Helper()
	out := sh(t, bed.Node, `ipvsadm-save -n
ipset save | sed -E 's/ (initval|hashsize|bucketsize) \S+//g'
iptables-save | sed -E '/^[#:]/d'; ip6tables-save | sed -E '/^[#:]/d'
ip -o addr show dev kube-ipvs0 scope global | cut -d' ' -f2- | sed 's/\\.*//'
ip route show table local proto 77; ip -6 route show table local proto 77`)
	lines := strings.Split(out, "\n")
	slices.Sort(lines)
	return lines
}

// programmed tells which lines of the snapshot of virtual servers and sets
// mention an address.
func programmed(t *testing.T, addr string) string {
	t.Helper()
	return sh(t, bed.Node, "(ipvsadm-save -n; ipset save) | grep -F '"+addr+"' || true")
}

// exit runs a kube-ipvs that ends by itself and returns its exit code and its output.
func exit(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && (!errors.As(err, &failed) || ctx.Err() != nil) {
		t.Fatalf("%s %q: %v: %s", binary, args, errors.Join(err, ctx.Err()), out)
	}
	if failed == nil {
		return 0, string(out)
	}
	return failed.ExitCode(), string(out)
}
