package life

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"text/template"
	"time"

	"kube-ipvs/test/e2e"
	"kube-ipvs/test/lib/testbed"
)

//go:embed testdata
var files embed.FS

var templates = template.Must(template.ParseFS(files, "testdata/*.yaml"))

const (
	system    = "kube-system"
	namespace = "life"
	daemonSet = "daemonset/kube-ipvs"
	proxies   = "app.kubernetes.io/name=kube-ipvs,app.kubernetes.io/component=proxy"
)

var nodes = []string{"node1", "node2"}

// patience only costs time when a test fails.
const patience = 10 * time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, check func() error) {
	t.Helper()
	if err := testbed.Await(t.Context(), patience, check); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// output runs a command, and returns its output. The error has that, too.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), err
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := output(cluster.Kubectl(args...))
	must(t, err)
	return out
}

func helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := output(cluster.Helm(args...))
	must(t, err)
	return out
}

// on runs a script on a node, also when the test is being cleaned up.
func on(t *testing.T, node, script string, args ...any) string {
	t.Helper()
	out, err := cluster.On(context.WithoutCancel(t.Context()), node, fmt.Sprintf(script, args...))
	must(t, err)
	return strings.TrimSpace(out)
}

// apply makes the objects of a template of testdata.
func apply(t *testing.T, name string, data any) {
	t.Helper()
	var text bytes.Buffer
	must(t, templates.ExecuteTemplate(&text, name, data))
	cmd := cluster.Kubectl("apply", "-f", "-")
	cmd.Stdin = &text
	_, err := output(cmd)
	must(t, err)
}

func rollout(t *testing.T, of, what string) {
	t.Helper()
	kubectl(t, "-n", of, "rollout", "status", what, "--timeout", testbed.Limit(patience).String())
}

// install sees to it that kube-ipvs serves the cluster, as its chart installs it, and that
// names are resolved.
func install(t *testing.T) {
	t.Helper()
	if _, err := output(cluster.Helm("-n", system, "status", "kube-ipvs")); err != nil {
		helm(t, "install", "kube-ipvs", chart, "-n", system, "-f", cluster.Values())
	}
	rollout(t, system, daemonSet)
	rollout(t, system, "deployment/coredns")
}

// uninstall removes kube-ipvs from the cluster, and its objects from the nodes.
func uninstall(t *testing.T) {
	t.Helper()
	helm(t, "uninstall", "kube-ipvs", "-n", system, "--ignore-not-found", "--wait")
	gone(t, system, proxies)
	// A test that failed may have left the clean-up, which keeps new pods off.
	kubectl(t, "-n", system, "delete", "daemonset", "kube-ipvs-cleanup", "--ignore-not-found")
	for _, node := range nodes {
		on(t, node, "%s cleanup", binary)
	}
}

// gone waits until no pod has the labels.
func gone(t *testing.T, of, labels string) {
	t.Helper()
	kubectl(t, "-n", of, "wait", "--for=delete", "pod", "-l", labels, "--timeout", testbed.Limit(patience).String())
}

// servers are a Service and the pods behind it.
type servers struct {
	Namespace, Name, Image string
	Replicas               int
	Node                   string // where all pods are to be; empty: on all nodes
	Version                string // of the pods' template
	clusterIP              string
	nodePorts              map[string]string // by the name of the port
}

// serve makes a Service whose pods are ready, and removes it with the test.
func serve(t *testing.T, s servers) *servers {
	t.Helper()
	s.Namespace, s.Image = namespace, e2e.LoadImage
	apply(t, "servers.yaml", s)
	t.Cleanup(func() {
		if _, err := output(cluster.Kubectl("-n", namespace, "delete", "service,deployment", s.Name, "--ignore-not-found")); err != nil {
			t.Error(err)
		}
		remains(t, "app="+s.Name)
	})
	rollout(t, namespace, "deployment/"+s.Name)
	s.clusterIP = kubectl(t, "-n", namespace, "get", "service", s.Name, "-o", "jsonpath={.spec.clusterIP}")
	s.nodePorts = map[string]string{}
	for _, port := range []string{"http", "echo"} {
		s.nodePorts[port] = kubectl(t, "-n", namespace, "get", "service", s.Name, "-o", fmt.Sprintf(`jsonpath={.spec.ports[?(@.name=="%s")].nodePort}`, port))
	}
	return &s
}

// remains waits until pods with the labels have gone, for the next test's sake.
func remains(t *testing.T, labels string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	err := testbed.Await(ctx, patience, func() error {
		out, err := output(cluster.Kubectl("-n", namespace, "get", "pods", "-l", labels, "-o", "name"))
		if err == nil && out != "" && !strings.HasPrefix(out, "No resources") {
			err = errors.New(out)
		}
		return err
	})
	if err != nil {
		t.Errorf("pods remain: %v", err)
	}
}
