package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"kube-ipvs/test/lib/cluster"
)

const (
	chart     = "../../../charts/kube-ipvs"
	values    = "../chart/testdata/values/"
	namespace = "kube-system"
	release   = "kube-ipvs"
)

// runHelm runs helm as the cluster's admin. The error is helm's message.
func runHelm(ctx context.Context, args ...string) (string, error) {
	var out, msg bytes.Buffer
	cmd := exec.CommandContext(ctx, helm, append(args, "--kubeconfig", control.Kubeconfig(cluster.Admin), "--namespace", namespace)...)
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, msg.String())
	}
	return out.String(), nil
}

// definitions tells the cluster of the kinds of the Prometheus operator. Of
// their fields it knows nothing.
func definitions(ctx context.Context) error {
	var errs []error
	for _, kind := range []string{"PodMonitor", "ServiceMonitor", "PrometheusRule"} {
		errs = append(errs, apply(ctx, fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]ss.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: %[1]s, plural: %[2]ss, singular: %[2]s}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, kind, strings.ToLower(kind)), false))
	}
	return errors.Join(errs...)
}

// clusterInfo makes the ConfigMap that kubeadm makes.
func clusterInfo(ctx context.Context) error {
	api := control.Client().CoreV1()
	_, err := api.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-public"}}, metav1.CreateOptions{})
	if err != nil && !strings.Contains(err.Error(), "already exists") { // kube-apiserver makes it, in its own time
		return err
	}
	kubeconfig := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: \"\", cluster: {server: %q}}]\nusers: []\n", control.Address())
	_, err = api.ConfigMaps("kube-public").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: map[string]string{"kubeconfig": kubeconfig},
	}, metav1.CreateOptions{})
	return err
}

// apply gives manifests to the API server as kubectl apply --server-side does,
// which refuses fields that it does not know. With dry it creates nothing.
func apply(ctx context.Context, manifests string, dry bool) error {
	config := rest.CopyConfig(control.Config(cluster.Admin))
	config.ContentConfig = rest.ContentConfig{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(control.Client().Discovery()))
	var errs []error
	for _, text := range strings.Split(manifests, "\n---\n") {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			return fmt.Errorf("%w in\n%s", err, text)
		}
		if len(o.Object) == 0 {
			continue
		}
		kind := o.GroupVersionKind()
		m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		var r dynamic.ResourceInterface = client.Resource(m.Resource)
		if m.Scope.Name() == "namespace" {
			r = client.Resource(m.Resource).Namespace(o.GetNamespace())
		}
		options := metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict}
		if dry {
			options.DryRun = []string{metav1.DryRunAll}
		}
		body, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			return err
		}
		if _, err := r.Patch(ctx, o.GetName(), types.ApplyPatchType, body, options); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// left are the objects that helm has made for the release and that are still
// there.
func left(t *testing.T) []string {
	t.Helper()
	config := rest.CopyConfig(control.Config(cluster.Admin))
	config.ContentConfig = rest.ContentConfig{}
	client, err := dynamic.NewForConfig(config)
	must(t, err)
	_, all, err := control.Client().Discovery().ServerGroupsAndResources()
	must(t, err)
	var out []string
	for _, group := range all {
		for _, r := range group.APIResources {
			if !strings.Contains(strings.Join(r.Verbs, ","), "list") || r.Name == "events" {
				continue
			}
			version, err := schema.ParseGroupVersion(group.GroupVersion)
			must(t, err)
			list, err := client.Resource(version.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + release})
			must(t, err)
			for _, o := range list.Items {
				out = append(out, r.Name+" "+o.GetName())
			}
		}
	}
	return out
}
