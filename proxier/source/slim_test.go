package source

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"kube-ipvs/proxier/model"
	"kube-ipvs/test/lib/world"
)

// dress gives an object what API servers say of it and no proxy reads.
func dress(m *metav1.ObjectMeta, labels map[string]string) {
	m.UID, m.ResourceVersion = "uid", "7"
	m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	m.Finalizers, m.OwnerReferences = []string{"x/y"}, []metav1.OwnerReference{{Name: "owner"}}
	for name, value := range labels {
		metav1.SetMetaDataLabel(m, name, value)
	}
	metav1.SetMetaDataAnnotation(m, "kubectl.kubernetes.io/last-applied-configuration", "{}")
}

// zones gives endpoints hints and what else stands in real slices.
func zones(t *rapid.T, s *discoveryv1.EndpointSlice) {
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		zone := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")
		e.Zone, e.Hostname = &zone, &zone
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "web-7d4b9c8f6d-xk2p1"}
		if rapid.Bool().Draw(t, "hints") {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}, ForNodes: []discoveryv1.ForNode{{Name: world.Node}}}
		}
		switch rapid.IntRange(0, 3).Draw(t, "nil conditions") {
		case 0:
			e.Conditions = discoveryv1.EndpointConditions{}
		case 1:
			e.NodeName = nil
		}
	}
}

// What is taken off an object changes nothing of what the model makes of it.
func TestSlimIsEnoughForTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slim := slimmer(rapid.Bool().Draw(t, "pods"))
		whole, small := model.New(model.Node{Name: world.Node, Zone: "a"}), model.New(model.Node{Name: world.Node, Zone: "a"})
		for range rapid.IntRange(1, 12).Draw(t, "objects") {
			if rapid.Bool().Draw(t, "a service") {
				o := world.Service(t)
				dress(&o.ObjectMeta, map[string]string{"app": "web"})
				for _, name := range []string{corev1.AnnotationLoadBalancerSourceRangesKey, model.AnnotationPrefix + "schedular"} {
					if rapid.Bool().Draw(t, name) {
						metav1.SetMetaDataAnnotation(&o.ObjectMeta, name, "10.0.0.0/8")
					}
				}
				o.Spec.Selector = map[string]string{"app": "web"}
				whole.ApplyService(o.DeepCopy(), "")
				small.ApplyService(twice(t, slim, o).(*corev1.Service), "")
				continue
			}
			o := world.Slice(t)
			dress(&o.ObjectMeta, map[string]string{discoveryv1.LabelManagedBy: "x"})
			zones(t, o)
			whole.ApplySlice(o.DeepCopy(), "")
			small.ApplySlice(twice(t, slim, o).(*discoveryv1.EndpointSlice), "")
		}
		if a, b := whole.Keys(), small.Keys(); !reflect.DeepEqual(a, b) {
			t.Fatalf("keys %v, slimmed %v", a, b)
		}
		for _, k := range whole.Keys() {
			a, _ := whole.View(k)
			b, _ := small.View(k)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("%s:\n%+v\nslimmed\n%+v", k, a, b)
			}
		}
		if a, b := whole.Board().List(), small.Board().List(); !reflect.DeepEqual(a, b) {
			t.Fatalf("problems %v, slimmed %v", a, b)
		}
	})
}

// twice slims an object, and sees that slimming it again changes nothing.
func twice(t *rapid.T, slim func(any) (any, error), o apiObject) any {
	once, err := slim(o)
	if err != nil {
		t.Fatal(err)
	}
	copied := once.(apiObject).DeepCopyObject()
	again, err := slim(copied)
	if err != nil || !reflect.DeepEqual(once, again) {
		t.Fatalf("slimmed\n%+v\nagain\n%+v: %v", once, again, err)
	}
	return once
}

func TestSlimDropsWhatNobodyReads(t *testing.T) {
	svc := apiService("web")
	dress(&svc.ObjectMeta, map[string]string{"app": "web"})
	svc.Spec.Selector = map[string]string{"app": "web"}
	node := apiNode("here")
	dress(&node.ObjectMeta, map[string]string{corev1.LabelTopologyZone: "a"})
	node.Spec.PodCIDRs = []string{"10.244.0.0/24"}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	node.Status.Images = []corev1.ContainerImage{{SizeBytes: 1}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	metav1.SetMetaDataAnnotation(&svc.ObjectMeta, model.SchedulerAnnotation, "lc")
	for _, pods := range []bool{false, true} {
		slice := apiSlice("web-1", "web", "10.0.0.1")
		dress(&slice.ObjectMeta, map[string]string{discoveryv1.LabelManagedBy: "x"})
		metav1.SetMetaDataAnnotation(&slice.ObjectMeta, corev1.EndpointsLastChangeTriggerTime, "2024-01-01T00:00:00Z")
		slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "web-7d4b9c8f6d-xk2p1"}
		slim := slimmer(pods)
		for _, o := range []apiObject{svc, node, slice} {
			_, err := slim(o)
			must(t, err)
			if o.GetManagedFields() != nil || o.GetFinalizers() != nil || o.GetOwnerReferences() != nil || o.GetResourceVersion() != "7" || o.GetUID() != "uid" {
				t.Errorf("%T: %+v", o, o)
			}
		}
		if name := slice.Endpoints[0].TargetRef.Name; name == "web-7d4b9c8f6d-xk2p1" != pods || model.Workload(name) != "web" {
			t.Errorf("pod %s; names of pods asked for: %t", name, pods)
		}
		want := map[string]string{discoveryv1.LabelServiceName: "web"}
		if !reflect.DeepEqual(slice.Labels, want) || len(slice.Annotations) != 1 {
			t.Errorf("slice has labels %v, annotations %v", slice.Labels, slice.Annotations)
		}
	}
	if svc.Labels != nil || svc.Spec.Selector != nil || !reflect.DeepEqual(svc.Annotations, map[string]string{model.SchedulerAnnotation: "lc"}) {
		t.Errorf("Service: %+v", svc)
	}
	if node.Labels[corev1.LabelTopologyZone] != "a" || len(node.Spec.PodCIDRs) != 1 || len(node.Status.Addresses) != 1 ||
		node.Status.Images != nil || node.Status.Conditions != nil || node.Annotations != nil {
		t.Errorf("Node: %+v", node)
	}
}

func TestSlimSharesNodeNames(t *testing.T) {
	slim := slimmer(false)
	var names []*string
	for range 2 {
		s, name := apiSlice("web-1", "web", "10.0.0.1"), "n1"
		s.Endpoints[0].NodeName = &name
		_, err := slim(s)
		must(t, err)
		names = append(names, s.Endpoints[0].NodeName)
	}
	if names[0] != names[1] || *names[0] != "n1" {
		t.Errorf("%p and %p", names[0], names[1])
	}
}
