package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs/test/lib/testbed"
)

// Namespace is where the objects of Apply live.
const Namespace = "default"

// usable waits until a Service can be made: a new API server first makes the
// ranges that it takes addresses from.
func (c *Cluster) usable(ctx context.Context) error {
	dual := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec:       corev1.ServiceSpec{IPFamilyPolicy: &dual, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	return testbed.Await(ctx, patience, func() error {
		_, err := c.client.CoreV1().Services(Namespace).Create(ctx, s, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
}

// Objects reads Services and EndpointSlices from YAML.
func Objects(text string) ([]*corev1.Service, []*discoveryv1.EndpointSlice, error) {
	var services []*corev1.Service
	var slices []*discoveryv1.EndpointSlice
	for _, doc := range strings.Split(text, "---\n") {
		var kind metav1.TypeMeta
		var err error
		if err = yaml.Unmarshal([]byte(doc), &kind); err != nil {
			return nil, nil, err
		}
		switch kind.Kind {
		case "":
		case "Service":
			s := &corev1.Service{}
			err = yaml.UnmarshalStrict([]byte(doc), s)
			services = append(services, s)
		case "EndpointSlice":
			s := &discoveryv1.EndpointSlice{}
			err = yaml.UnmarshalStrict([]byte(doc), s)
			slices = append(slices, s)
		default:
			err = fmt.Errorf("cannot make a %s", kind.Kind)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return services, slices, nil
}

// Apply makes the Services and EndpointSlices of a manifest, or changes them to it.
// The status of a Service, which has the addresses of its load balancer, is written as
// a load-balancer controller writes it.
func (c *Cluster) Apply(ctx context.Context, text string) error {
	services, slices, err := Objects(text)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := c.ApplyService(ctx, s); err != nil {
			return fmt.Errorf("apply Service %s: %w", s.Name, err)
		}
	}
	api := c.client.DiscoveryV1().EndpointSlices(Namespace)
	for _, s := range slices {
		_, err := api.Create(ctx, s, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = api.Update(ctx, s, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("apply EndpointSlice %s: %w", s.Name, err)
		}
	}
	return nil
}

// ApplyService does what Apply does for one Service.
func (c *Cluster) ApplyService(ctx context.Context, s *corev1.Service) error {
	if len(s.Spec.IPFamilies) == 2 && s.Spec.IPFamilyPolicy == nil {
		dual := corev1.IPFamilyPolicyRequireDualStack
		s.Spec.IPFamilyPolicy = &dual
	}
	if s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) > 0 {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	api, status := c.client.CoreV1().Services(Namespace), s.Status
	// To make it at once would not tell that it is there, but that its addresses are taken.
	made, err := api.Get(ctx, s.Name, metav1.GetOptions{})
	if made == nil || made.Spec.HealthCheckNodePort == 0 {
		s = withHealthCheck(s)
	}
	switch {
	case apierrors.IsNotFound(err):
		made, err = api.Create(ctx, s, metav1.CreateOptions{})
	case err == nil:
		s = s.DeepCopy()
		s.ResourceVersion = made.ResourceVersion
		made, err = api.Update(ctx, s, metav1.UpdateOptions{})
	}
	if err != nil || len(status.LoadBalancer.Ingress) == 0 {
		return err
	}
	made.Status = status
	_, err = api.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return err
}

// withHealthCheck chooses the health-check node port of a Service that has a number
// for its node port: one that the API server chose might be another's number.
func withHealthCheck(s *corev1.Service) *corev1.Service {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal ||
		s.Spec.HealthCheckNodePort != 0 || len(s.Spec.Ports) == 0 || s.Spec.Ports[0].NodePort == 0 {
		return s
	}
	s = s.DeepCopy()
	s.Spec.HealthCheckNodePort = s.Spec.Ports[0].NodePort + 1000
	return s
}

// Delete deletes Services and their EndpointSlices, as the controllers would. A
// missing object is no error.
func (c *Cluster) Delete(ctx context.Context, services ...string) error {
	var errs []error
	for _, name := range services {
		errs = append(errs, c.client.CoreV1().Services(Namespace).Delete(ctx, name, metav1.DeleteOptions{}),
			c.client.DiscoveryV1().EndpointSlices(Namespace).DeleteCollection(ctx, metav1.DeleteOptions{},
				metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name}))
	}
	for i, err := range errs {
		if apierrors.IsNotFound(err) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// Clear deletes everything in the namespace but the API's own Service.
func (c *Cluster) Clear(ctx context.Context) error {
	now := int64(0)
	at := metav1.DeleteOptions{GracePeriodSeconds: &now}
	all, err := c.client.CoreV1().Services(Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name!=kubernetes"})
	if err != nil {
		return err
	}
	return errors.Join(
		Each(len(all.Items), func(i int) error {
			return c.client.CoreV1().Services(Namespace).Delete(ctx, all.Items[i].Name, at)
		}),
		c.client.DiscoveryV1().EndpointSlices(Namespace).DeleteCollection(ctx, at, metav1.ListOptions{}),
		c.client.CoreV1().Pods(Namespace).DeleteCollection(ctx, at, metav1.ListOptions{}),
	)
}

// Each calls f with 0 to n-1, from several clients at a time, and returns the
// first of its errors after all have been tried.
func Each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	var once sync.Once
	var first error
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	wg.Wait()
	return first
}

// Pod makes a Pod that runs on its host and is ready, as kubelet would report it.
func (c *Cluster) Pod(ctx context.Context, h *testbed.Host, labels map[string]string) error {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: h.Name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: c.bed.NodeOf(h), Containers: []corev1.Container{{Name: "only", Image: "any"}}},
	}
	if _, err := c.client.CoreV1().Pods(Namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return err
	}
	return c.Report(ctx, h, true)
}

// Report writes the status of a Pod: it runs, and is ready or not.
func (c *Cluster) Report(ctx context.Context, h *testbed.Host, ready bool) error {
	api := c.client.CoreV1().Pods(Namespace)
	p, err := api.Get(ctx, h.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	node := c.bed.Node.IPv4
	if p.Spec.NodeName == c.bed.Node2.Name {
		node = c.bed.Node2.IPv4
	}
	state := corev1.ConditionFalse
	if ready {
		state = corev1.ConditionTrue
	}
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: h.IPv4.String(), PodIPs: []corev1.PodIP{{IP: h.IPv4.String()}, {IP: h.IPv6.String()}},
		HostIP: node.String(), HostIPs: []corev1.HostIP{{IP: node.String()}},
		StartTime:  &metav1.Time{Time: time.Now()},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: state}},
	}
	_, err = api.UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}
