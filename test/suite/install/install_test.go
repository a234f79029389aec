package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// The API server takes the rendered objects, with hooks and tests, to the last field,
// and the dry run has created nothing.
func TestDryRun(t *testing.T) {
	files, err := filepath.Glob(values + "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files of values", err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			manifests, err := runHelm(t.Context(), "template", release, chart, "--dry-run=server", "--values", file)
			must(t, err)
			must(t, apply(t.Context(), manifests, true))
			if filepath.Base(file) != "minimal.yaml" {
				return
			}
			if err := apply(t.Context(), strings.Replace(manifests, "hostNetwork: true", "hostNetworks: true", 1), true); err == nil {
				t.Error("the API server takes an unknown field")
			}
		})
	}
	if found := left(t); len(found) > 0 {
		t.Errorf("it has created %q", found)
	}
}

// A release that asks the cluster for the addresses gets them, or the error says what
// to do.
func TestAuto(t *testing.T) {
	args := []string{"install", release, chart, "--dry-run=server", "--set", "image.repository=example.com/kube-ipvs", "--set", "apiServers.auto=true"}
	out, err := runHelm(t.Context(), args...)
	must(t, err)
	if !strings.Contains(out, "apiServers:\n    - "+control.Address()) {
		t.Errorf("the address %s is not in\n%s", control.Address(), out)
	}
	api := control.Client().CoreV1().ConfigMaps("kube-public")
	must(t, api.Delete(t.Context(), "cluster-info", metav1.DeleteOptions{}))
	t.Cleanup(func() { must(t, clusterInfo(context.WithoutCancel(t.Context()))) })
	_, err = runHelm(t.Context(), args...)
	if err == nil || !strings.Contains(err.Error(), "apiServers.auto") || !strings.Contains(err.Error(), "apiServers.addresses") {
		t.Errorf("without kube-public/cluster-info: %v", err)
	}
}

// The life of a release: its containers run in the image with the rights that
// the chart gives them, program the node, and use every right that the role has.
func TestRelease(t *testing.T) {
	s := testbed.Service{Name: "web", Number: 1}
	_, err := control.Client().CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster.Namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	must(t, control.Apply(t.Context(), bed.With(s, testbed.Backends(bed.P1))))
	set := []string{"--set", "image.repository=example.com/kube-ipvs", "--set", "apiServers.auto=true", "--set", "cleanup.onUninstall=true", "--set", "kubeProxyConfiguration.clusterCIDR=10.244.0.0/16"}
	must(t, second(runHelm(t.Context(), append([]string{"install", release, chart}, set...)...)))

	t.Run("runs", func(t *testing.T) {
		d := start(t)
		served(t, s, "p1")
		if log := d.log(); !strings.Contains(log, "kept=CAP_NET_ADMIN,CAP_NET_RAW\n") || strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
			t.Errorf("it complains, or has other rights than it needs:\n%s", log)
		}
		wrong(t, "web")
		await(t, func() error { return exact(t) })
	})
	t.Run("needs its rights", func(t *testing.T) {
		clean(t)
		lacking(t)
	})
	t.Run("upgrade", func(t *testing.T) {
		must(t, second(runHelm(t.Context(), "upgrade", release, chart, "--reuse-values", "--set", "kubeProxyConfiguration.ipvs.scheduler=lc", "--set", "kubeIPVSConfiguration.iptablesBackend=legacy")))
		d := start(t)
		served(t, s, "p1")
		scheduler(t, "lc")
		if rules, err := bed.Node.Shell(t.Context(), "iptables-legacy-save"); err != nil || !strings.Contains(rules, "KIPVS") {
			t.Errorf("%v; it has written no legacy rules:\n%s", err, rules)
		}
		d.stop(t)
		clean(t)
	})
	t.Run("second release", func(t *testing.T) {
		another := func(name string, more ...string) error {
			_, err := runHelm(t.Context(), append(append([]string{"install", name, chart, "--dry-run=server"}, set...), more...)...)
			return err
		}
		if err := another("another"); err == nil || !strings.Contains(err.Error(), "the release "+release+" in the namespace "+namespace+" is for the same nodes") {
			t.Errorf("for the same nodes: %v", err)
		}
		if err := another("another", "--set", `nodeSelector.kubernetes\.io/os=other`); err != nil {
			t.Errorf("for other nodes: %v", err)
		}
	})
	t.Run("refused upgrade", func(t *testing.T) {
		before := daemonSet(t, release).Generation
		err := second(runHelm(t.Context(), "upgrade", release, chart, "--reuse-values", "--set", "kubeProxyConfiguration.ipvs.scheduler=best"))
		if err == nil || daemonSet(t, release).Generation != before {
			t.Errorf("%v, generation %d before", err, before)
		}
	})
	t.Run("rollback", func(t *testing.T) {
		must(t, second(runHelm(t.Context(), "rollback", release, "1")))
		start(t)
		served(t, s, "p1")
		scheduler(t, "rr")
	})
	t.Run("uninstall", func(t *testing.T) {
		must(t, second(runHelm(t.Context(), "uninstall", release)))
		want := []string{"daemonsets " + release + "-cleanup"}
		var found []string
		for _, o := range left(t) {
			if !strings.HasPrefix(o, "controllerrevisions ") {
				found = append(found, o)
			}
		}
		if !slices.Equal(found, want) {
			t.Errorf("%q is left, want %q", found, want)
		}
		served(t, s, "p1") // the pod that programmed it is gone, and the Service stays
		pod := daemonSet(t, release+"-cleanup").Spec.Template.Spec
		said := once(t, contain(t, pod, pod.InitContainers[0]))
		if rest, err := bed.Node.Shell(t.Context(), `iptables-save; ip6tables-save; ipset list -n; ipvsadm-save -n; ip route show table local proto 77`); err != nil || strings.Contains(rest, "KIPVS") || strings.Contains(rest, "-A -t") {
			t.Errorf("%v; the clean-up said %q and left:\n%s", err, said, rest)
		}
	})
}

// clean does by hand the work of the chart's option after uninstalling.
func clean(t *testing.T) {
	t.Helper()
	pod := daemonSet(t, release).Spec.Template.Spec
	c := contain(t, pod, pod.Containers[0])
	c.Args = []string{"/kube-ipvs", "cleanup"}
	once(t, c)
}

func second(_ string, err error) error { return err }

// start runs the pod of the DaemonSet: init container, then the other, until it
// is ready.
func start(t *testing.T) *running {
	t.Helper()
	pod := daemonSet(t, release).Spec.Template.Spec
	once(t, contain(t, pod, pod.InitContainers[0]))
	c := pod.Containers[0]
	r := launch(t, contain(t, pod, c))
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		await(t, func() error {
			select {
			case <-r.done:
				t.Fatalf("it has ended: %v", r.err)
			default:
			}
			return probe(t.Context(), c, p)
		})
	}
	return r
}

// served waits until a pod gets an answer from a Service.
func served(t *testing.T, s testbed.Service, by string) {
	t.Helper()
	await(t, func() error {
		var errs []error
		for _, f := range s.Frontends() {
			a, err := bed.C1.Ask(t.Context(), "tcp", f.Addr(true), testbed.From{})
			if got := testbed.Outcome(a, err); got != by {
				errs = append(errs, fmt.Errorf("%s: %s, want %s", f.Name, got, by))
			}
		}
		return errors.Join(errs...)
	})
}

func scheduler(t *testing.T, want string) {
	t.Helper()
	await(t, func() error {
		out, err := bed.Node.Shell(t.Context(), "ipvsadm-save -n")
		if err == nil && !strings.Contains(out, "-s "+want) {
			err = fmt.Errorf("no virtual server with scheduler %s:\n%s", want, out)
		}
		return err
	})
}

// wrong has a Service with a fault, which an Event reports, as the notes of the chart
// have it asked for.
func wrong(t *testing.T, service string) {
	t.Helper()
	api := control.Client().CoreV1().Services(cluster.Namespace)
	s, err := api.Get(t.Context(), service, metav1.GetOptions{})
	must(t, err)
	s.Annotations = map[string]string{"kube-ipvs/scheduler": "fastest"}
	_, err = api.Update(t.Context(), s, metav1.UpdateOptions{})
	must(t, err)
	await(t, func() error {
		list, err := control.Client().CoreV1().Events(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{FieldSelector: "reportingComponent=kube-ipvs"})
		if err == nil && len(list.Items) == 0 {
			err = errors.New("there is no Event")
		}
		return err
	})
}

// exact compares the role with the pod's requests to the API server.
func exact(t *testing.T) error {
	t.Helper()
	role, err := control.Client().RbacV1().ClusterRoles().Get(t.Context(), namespace+":"+release, metav1.GetOptions{})
	must(t, err)
	granted := map[string]bool{}
	for _, r := range role.Rules {
		each(r, func(group, resource, verb string) { granted[verb+" "+group+"/"+resource] = true })
	}
	asked, err := control.Requests("system:serviceaccount:" + namespace + ":" + release)
	must(t, err)
	var errs []error
	for r := range asked {
		name := r.Verb + " " + r.Group + "/" + r.Resource
		if r.Code == 401 || r.Code == 403 || !granted[name] {
			errs = append(errs, fmt.Errorf("it asks to %s, which the role does not grant (%d)", name, r.Code))
		}
	}
	for name := range granted {
		used := false
		for r := range asked {
			used = used || name == r.Verb+" "+r.Group+"/"+r.Resource
		}
		if !used {
			errs = append(errs, fmt.Errorf("the role grants to %s, which it does not ask for", name))
		}
	}
	return errors.Join(errs...)
}

func each(r rbacv1.PolicyRule, f func(group, resource, verb string)) {
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				f(group, resource, verb)
			}
		}
	}
}
