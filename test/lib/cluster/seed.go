package cluster

import (
	"context"
	"fmt"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// Seed makes many Services, each with a ClusterIP and one EndpointSlice. They are
// written into etcd as kube-apiserver would write them, with the IPAddress that goes
// with each, since in the lab, where reading the clock is a system call, it takes some
// fifty milliseconds for a Service. From there on all is as ever: kube-apiserver
// decodes them and tells the watches.
func (c *Cluster) Seed(ctx context.Context, services []*corev1.Service, slices []*discoveryv1.EndpointSlice) error {
	codec := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	return Each(len(services), func(i int) error {
		v, s := services[i], slices[i]
		complete(v)
		s.TypeMeta = metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"}
		stamp(&s.ObjectMeta, "s")
		ip := addressOf(v)
		var puts []any
		for key, o := range map[string]runtime.Object{
			path.Join("ipaddresses", ip.Name):              ip,
			path.Join("services/specs", Namespace, v.Name): v,
			path.Join("endpointslices", Namespace, s.Name): s,
		} {
			value, err := runtime.Encode(codec, o)
			if err != nil {
				return fmt.Errorf("seed %s: %w", key, err)
			}
			puts = append(puts, map[string]any{"requestPut": map[string]any{"key": []byte("/registry/" + key), "value": value}})
		}
		return c.commit(ctx, puts)
	})
}

// Rewrite writes an EndpointSlice of Seed, or one made later, into etcd, past
// kube-apiserver, which tells the watches.
func (c *Cluster) Rewrite(ctx context.Context, s *discoveryv1.EndpointSlice) error {
	s = s.DeepCopy()
	s.TypeMeta = metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"}
	s.ResourceVersion = "" // etcd's own
	stamp(&s.ObjectMeta, "s")
	value, err := runtime.Encode(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), s)
	if err != nil {
		return fmt.Errorf("rewrite EndpointSlice %s: %w", s.Name, err)
	}
	key := "/registry/" + path.Join("endpointslices", Namespace, s.Name)
	return c.commit(ctx, []any{map[string]any{"requestPut": map[string]any{"key": []byte(key), "value": value}}})
}

// commit writes several objects at a revision. They must be of different kinds: a
// watch of one kind expects each object to have a revision of its own.
func (c *Cluster) commit(ctx context.Context, puts []any) error {
	var answer struct {
		Succeeded bool `json:"succeeded"`
	}
	err := c.ask(ctx, "txn", map[string]any{"success": puts}, &answer)
	if err == nil && !answer.Succeeded {
		err = fmt.Errorf("etcd did not take %d writes", len(puts))
	}
	return err
}

func stamp(m *metav1.ObjectMeta, kind string) {
	m.Namespace, m.UID = Namespace, types.UID(fmt.Sprintf("seed-%s-%s", kind, m.Name))
	m.CreationTimestamp = metav1.NewTime(time.Now())
}

// complete sets the fields that kube-apiserver would set.
func complete(s *corev1.Service) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	stamp(&s.ObjectMeta, "v")
	single, cluster := corev1.IPFamilyPolicySingleStack, corev1.ServiceInternalTrafficPolicyCluster
	s.Spec.Type, s.Spec.SessionAffinity = corev1.ServiceTypeClusterIP, corev1.ServiceAffinityNone
	s.Spec.ClusterIPs, s.Spec.IPFamilies = []string{s.Spec.ClusterIP}, []corev1.IPFamily{corev1.IPv4Protocol}
	s.Spec.IPFamilyPolicy, s.Spec.InternalTrafficPolicy = &single, &cluster
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].Protocol = corev1.ProtocolTCP
	}
}

// addressOf is kube-apiserver's note of the Service that has a ClusterIP.
func addressOf(s *corev1.Service) *networkingv1.IPAddress {
	ip := &networkingv1.IPAddress{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "IPAddress"},
		ObjectMeta: metav1.ObjectMeta{Name: s.Spec.ClusterIP, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(corev1.IPv4Protocol), networkingv1.LabelManagedBy: "ipallocator.k8s.io",
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: Namespace, Name: s.Name}},
	}
	stamp(&ip.ObjectMeta, "a")
	ip.Namespace = ""
	return ip
}
