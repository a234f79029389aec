package install

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/test/lib/pod"
	"kube-ipvs/test/lib/testbed"
)

// daemonSet reads the DaemonSet that helm made.
func daemonSet(t *testing.T, name string) *appsv1.DaemonSet {
	t.Helper()
	ds, err := control.Client().AppsV1().DaemonSets(namespace).Get(t.Context(), name, metav1.GetOptions{})
	must(t, err)
	return ds
}

// contain makes a container's settings for the runtime, as a kubelet does.
func contain(t *testing.T, spec corev1.PodSpec, c corev1.Container) pod.Container {
	t.Helper()
	kubelet := pod.Kubelet{Node: bed.Node.Name, Image: image, Dir: t.TempDir(), ConfigMap: func(name string) (map[string]string, error) {
		config, err := control.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return config.Data, nil
	}}
	out, err := kubelet.Contain(spec, c)
	must(t, err)
	out.Env = append(out.Env, "KUBERNETES_SERVICE_HOST="+kubernetesIP(t), "KUBERNETES_SERVICE_PORT=443")
	if spec.AutomountServiceAccountToken != nil && *spec.AutomountServiceAccountToken {
		out.Mounts = append(out.Mounts, pod.Mount{Source: account(t, spec.ServiceAccountName), Target: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true})
	}
	return out
}

func kubernetesIP(t *testing.T) string {
	t.Helper()
	s, err := control.Client().CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	must(t, err)
	return s.Spec.ClusterIP
}

// account makes the folder with a pod's service account.
func account(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	token, err := control.Client().CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	ca, err := os.ReadFile(control.Authority())
	must(t, err)
	for file, text := range map[string][]byte{"token": []byte(token.Status.Token), "ca.crt": ca, "namespace": []byte(namespace)} {
		must(t, os.WriteFile(filepath.Join(dir, file), text, 0o644))
	}
	return dir
}

// once runs an init container, which must succeed, and returns its output.
func once(t *testing.T, c pod.Container) string {
	t.Helper()
	cmd, err := c.Command()
	must(t, err)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", c.Args, err, out)
	}
	return string(out)
}

// running is a container that has been started.
type running struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, once done is closed
	said testbed.Log
}

func (r *running) log() string { return r.said.String() }

// launch starts a container, and ends it after the test at the latest.
func launch(t *testing.T, c pod.Container) *running {
	t.Helper()
	cmd, err := c.Command()
	must(t, err)
	r := &running{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &r.said, &r.said
	must(t, cmd.Start())
	go func() {
		r.err = cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		r.stop(t)
		if t.Failed() {
			t.Logf("the container said:\n%s", r.log())
		}
	})
	return r
}

// stop ends it as a kubelet does. Idempotent.
func (r *running) stop(t *testing.T) {
	t.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
		if r.err != nil {
			t.Errorf("it ended: %v", r.err)
		}
	case <-time.After(10 * time.Second): // terminationGracePeriodSeconds
		_ = r.cmd.Process.Kill()
		t.Error("it does not end")
	}
}

// probe asks as the kubelet does: at the pod's address.
func probe(ctx context.Context, c corev1.Container, p *corev1.Probe) error {
	port := slices.IndexFunc(c.Ports, func(o corev1.ContainerPort) bool { return o.Name == p.HTTPGet.Port.StrVal })
	if port < 0 {
		return fmt.Errorf("there is no port %s", p.HTTPGet.Port.StrVal)
	}
	host := p.HTTPGet.Host
	if host == "" {
		host = bed.Node.IPv4.String()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.TimeoutSeconds)*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", host, c.Ports[port].ContainerPort, p.HTTPGet.Path), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, answer.Status)
	}
	return nil
}
