package source

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"kube-ipvs/proxier/model"
)

// key names an object of a kind.
type key struct{ namespace, name string }

func (k key) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: k.namespace, Name: k.name}
}

// versions is the store that a reflector fills. It keeps only the delivered version of each object.
type versions struct {
	kind  kind
	api   *api
	slim  cache.TransformFunc
	known map[key]uint64
}

var _ cache.ReflectorStore = (*versions)(nil)

// Add is part of cache.ReflectorStore.
func (v *versions) Add(obj any) error { return v.Update(obj) }

// Update is part of cache.ReflectorStore.
func (v *versions) Update(obj any) error {
	e, changed, err := v.note(obj)
	if err != nil {
		return err
	}
	if changed {
		v.api.deliver([]Event{e})
	}
	v.count()
	return nil
}

// Delete is part of cache.ReflectorStore.
func (v *versions) Delete(obj any) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("%s: an object without metadata: %w", v.kind.name, err)
	}
	k := key{m.GetNamespace(), m.GetName()}
	delete(v.known, k)
	v.api.deliver([]Event{v.kind.blank(k)})
	v.count()
	return nil
}

// Replace is part of cache.ReflectorStore: list has all objects.
func (v *versions) Replace(list []any, _ string) error {
	gone := make(map[key]bool, len(v.known))
	for k := range v.known {
		gone[k] = true
	}
	events := make([]Event, 0, len(list))
	for i, obj := range list {
		e, changed, err := v.note(obj)
		if err != nil {
			return err
		}
		list[i] = nil
		m, _ := meta.Accessor(obj) // note has read it
		delete(gone, key{m.GetNamespace(), m.GetName()})
		if changed {
			events = append(events, e)
		}
	}
	for k := range gone {
		delete(v.known, k)
		events = append(events, v.kind.blank(k))
	}
	v.api.deliver(events)
	v.api.listed(v.kind, len(v.known))
	return nil
}

// Resync is part of cache.ReflectorStore. It does nothing, since the store keeps no objects.
func (v *versions) Resync() error { return nil }

// count reports a Node that was created or deleted.
func (v *versions) count() {
	if v.kind.name == "nodes" {
		v.api.listed(v.kind, len(v.known))
	}
}

// note notes the version of obj. changed says that it is new.
func (v *versions) note(obj any) (e Event, changed bool, err error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return e, false, fmt.Errorf("%s: an object without metadata: %w", v.kind.name, err)
	}
	k, now := key{m.GetNamespace(), m.GetName()}, version(m.GetResourceVersion())
	if was, had := v.known[k]; had && was == now && now != 0 {
		return e, false, nil
	}
	v.known[k] = now
	slim, err := v.slim(obj)
	if err != nil {
		return e, false, err
	}
	return v.kind.event(slim.(runtime.Object)), true, nil
}

// version returns a number for a resourceVersion: the number itself from API servers, or a hash of
// another text.
func version(s string) uint64 {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64()
}

// read reports whether kube-ipvs reads an annotation.
func read(name string) bool {
	return name == corev1.EndpointsLastChangeTriggerTime || strings.HasPrefix(name, model.AnnotationPrefix)
}

// slimmer returns a function that removes from an object the fields that kube-ipvs does not read,
// which are most of it, and lets objects share strings. Safe from several goroutines, and
// idempotent.
func slimmer(pods bool) cache.TransformFunc {
	s := &slim{pods: pods, shared: map[string]*string{}, workloads: map[string]*corev1.ObjectReference{}}
	return func(obj any) (any, error) {
		switch o := obj.(type) {
		case *corev1.Service:
			o.ObjectMeta = s.meta(&o.ObjectMeta, "")
			o.Spec.Selector = nil
			o.Status.Conditions = nil
		case *discoveryv1.EndpointSlice:
			o.ObjectMeta = s.meta(&o.ObjectMeta, discoveryv1.LabelServiceName)
			for i := range o.Endpoints {
				s.endpoint(&o.Endpoints[i])
			}
		case *corev1.Node:
			labels := o.Labels
			o.ObjectMeta = s.meta(&o.ObjectMeta, "")
			o.Labels = labels
			o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses}
		}
		return obj, nil
	}
}

type slim struct {
	pods      bool
	mu        sync.Mutex
	shared    map[string]*string
	workloads map[string]*corev1.ObjectReference // by the part of a pod's name that all share
}

func (s *slim) meta(m *metav1.ObjectMeta, label string) metav1.ObjectMeta {
	out := metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
	for name, value := range m.Annotations {
		if !read(name) {
			continue
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[name] = value
	}
	if value, ok := m.Labels[label]; ok {
		out.Labels = map[string]string{label: value}
	}
	return out
}

var yes, no = true, false

func (s *slim) endpoint(e *discoveryv1.Endpoint) {
	e.Hostname, e.DeprecatedTopology = nil, nil
	if !s.pods {
		e.TargetRef = s.workload(e.TargetRef)
	}
	for _, p := range []**bool{&e.Conditions.Ready, &e.Conditions.Serving, &e.Conditions.Terminating} {
		switch {
		case *p == nil:
		case **p:
			*p = &yes
		default:
			*p = &no
		}
	}
	e.NodeName, e.Zone = s.share(e.NodeName), s.share(e.Zone)
}

// workload returns a reference that all pods of a workload share: their name without the
// part that differs, by which model.Workload is the same.
func (s *slim) workload(pod *corev1.ObjectReference) *corev1.ObjectReference {
	if pod == nil || pod.Kind != "Pod" {
		return nil
	}
	stem := pod.Name[:strings.LastIndexByte(pod.Name, '-')+1]
	if stem == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if same, ok := s.workloads[stem]; ok {
		return same
	}
	ref := &corev1.ObjectReference{Kind: pod.Kind, Name: strings.Clone(stem)}
	if len(s.workloads) < maxShared {
		s.workloads[ref.Name] = ref
	}
	return ref
}

// maxShared is how many strings are shared: a cluster has fewer nodes.
const maxShared = 20000

func (s *slim) share(p *string) *string {
	if p == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if same, ok := s.shared[*p]; ok {
		return same
	}
	if len(s.shared) < maxShared {
		s.shared[*p] = p
	}
	return p
}
