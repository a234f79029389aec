// Package chart tests the chart's objects for values: golden manifests, refusals and
// their messages, and that the program accepts the configuration. It needs no cluster;
// test/suite/install has one.
package chart

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"

	"sigs.k8s.io/yaml"
)

var (
	helm   = os.Getenv("KUBE_IPVS_HELM")
	binary = os.Getenv("KUBE_IPVS_BINARY")
	update = flag.Bool("update", false, "write what is now rendered as what is right")
)

// chart is where the chart lies, seen from this folder.
const chart = "../../../charts/kube-ipvs"

func TestMain(m *testing.M) {
	if helm == "" {
		testbed.SkipAll(m, "it needs helm: make test-chart")
	}
	if binary == "" {
		fmt.Fprintln(os.Stderr, "KUBE_IPVS_BINARY does not say which kube-ipvs is to read the configuration")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// monitoring makes helm believe in the Prometheus operator.
var monitoring = func() []string {
	var args []string
	for _, kind := range []string{"PodMonitor", "ServiceMonitor", "PrometheusRule"} {
		args = append(args, "--api-versions", "monitoring.coreos.com/v1/"+kind)
	}
	return args
}()

// template renders the chart. The error is helm's message.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return run(t, append([]string{"template", "kube-ipvs", chart, "--namespace", "kube-system"}, args...)...)
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, msg bytes.Buffer
	cmd := exec.CommandContext(t.Context(), helm, args...)
	// Nothing of the user's own: no plugins, repositories or cluster.
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + filepath.Join(home, "none")}
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, msg.String())
	}
	return out.String(), nil
}

// object is a manifest, as far as tests look into it.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template struct {
			Spec struct{ InitContainers, Containers []container }
		}
	}
}

type container struct {
	Args              []string
	Env, VolumeMounts []any
}

// find returns the object of a kind that template has rendered.
func find(t *testing.T, rendered, kind string) object {
	t.Helper()
	for _, doc := range strings.Split(rendered, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o.Kind == kind {
			return o
		}
	}
	t.Fatalf("no %s in\n%s", kind, rendered)
	return object{}
}

// sets are the files of values that the chart must take.
func sets(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files of values", err, len(files))
	}
	out := map[string]string{}
	for _, f := range files {
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = f
	}
	return out
}
