package source

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// known has the apiVersion of each kind that kube-ipvs reads.
var known = map[string]schema.GroupVersion{
	"List":              corev1.SchemeGroupVersion,
	"Service":           corev1.SchemeGroupVersion,
	"ServiceList":       corev1.SchemeGroupVersion,
	"Node":              corev1.SchemeGroupVersion,
	"NodeList":          corev1.SchemeGroupVersion,
	"EndpointSlice":     discoveryv1.SchemeGroupVersion,
	"EndpointSliceList": discoveryv1.SchemeGroupVersion,
}

// scheme has the known kinds.
var scheme = newScheme()

// decoder decodes one JSON object of a known kind. With an error about strictness only, it returns the
// object too.
var decoder = serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme, scheme, serializer.SerializerOptions{Strict: true})

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for kind, gv := range known {
		var obj runtime.Object = &corev1.List{} // each item alone, so that a bad one does not hide the others
		switch kind {
		case "Service":
			obj = &corev1.Service{}
		case "Node":
			obj = &node{}
		case "EndpointSlice":
			obj = &discoveryv1.EndpointSlice{}
		}
		scheme.AddKnownTypeWithName(gv.WithKind(kind), obj)
	}
	return scheme
}

// elsewhere reports whether an apiVersion is of a group outside Kubernetes, which may have kinds of the
// same names. The groups of Kubernetes itself have no dot or end in k8s.io.
func elsewhere(apiVersion string) bool {
	group, _, found := strings.Cut(apiVersion, "/")
	return found && strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

// node is a Node with only the addresses of its status, since a quantity such as 1e-999999999 takes hours
// to decode.
type node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              corev1.NodeSpec `json:"spec,omitempty"`
	Status            json.RawMessage `json:"status,omitempty"`
}

// DeepCopyObject is part of runtime.Object. It is not used.
func (n *node) DeepCopyObject() runtime.Object {
	c := *n
	n.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	n.Spec.DeepCopyInto(&c.Spec)
	return &c
}

func (n *node) node() (*corev1.Node, error) {
	out := &corev1.Node{TypeMeta: n.TypeMeta, ObjectMeta: n.ObjectMeta, Spec: n.Spec}
	if len(n.Status) == 0 {
		return out, nil
	}
	var status struct {
		Addresses []corev1.NodeAddress `json:"addresses"`
	}
	err := json.Unmarshal(n.Status, &status)
	out.Status.Addresses = status.Addresses
	return out, err
}
