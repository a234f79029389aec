package main

import (
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// dressSlice gives an EndpointSlice the fields that its controller writes and no proxy
// reads: they are sent all the same.
func dressSlice(s *discoveryv1.EndpointSlice) {
	yes, no, zone := true, false, "zone-a"
	s.GenerateName, s.Generation = s.Name+"-", 3
	s.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05Z"}
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name, UID: uid(s.Name), Controller: &yes, BlockOwnerDeletion: &yes}}
	s.ManagedFields = managed("kube-controller-manager", "discovery.k8s.io/v1", `{"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:annotations":{".":{},`+
		`"f:endpoints.kubernetes.io/last-change-trigger-time":{}},"f:generateName":{},"f:labels":{".":{},"f:endpointslice.kubernetes.io/managed-by":{},`+
		`"f:kubernetes.io/service-name":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"`+string(uid(s.Name))+`\"}":{}}},"f:ports":{}}`)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		pod := fmt.Sprintf("%s-%010x-%05x", s.Name, hash(s.Name), hash(e.Addresses[0])%(1<<20))
		e.Zone, e.Conditions.Serving, e.Conditions.Terminating = &zone, &yes, &no
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: pod, UID: uid(pod)}
	}
}

// dressService gives a Service the fields that a tool like Helm and the API server
// write.
func dressService(s *corev1.Service) {
	s.Labels = map[string]string{"app.kubernetes.io/name": s.Name, "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "web-1.2.3"}
	s.Spec.Selector = map[string]string{"app.kubernetes.io/name": s.Name, "app.kubernetes.io/instance": "web"}
	s.ManagedFields = managed("helm", "v1", `{"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/managed-by":{},"f:app.kubernetes.io/name":{},"f:helm.sh/chart":{}}},`+
		`"f:spec":{"f:internalTrafficPolicy":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{},"f:targetPort":{}}},`+
		`"f:selector":{},"f:sessionAffinity":{},"f:type":{}}}`)
}

func managed(by, version, fields string) []metav1.ManagedFieldsEntry {
	now := metav1.Now()
	return []metav1.ManagedFieldsEntry{{
		Manager: by, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: version, Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}}
}

// uid is as long as one of Kubernetes, and compresses as badly.
func uid(of string) types.UID {
	a, b := hash(of), hash(of+"'")
	return types.UID(fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", uint32(a>>32), uint16(a>>16), a&0xfff, b>>52, b&0xffffffffffff))
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return h.Sum64()
}
