// Package source delivers Services, EndpointSlices and the own Node as one stream of events, from
// API servers or from manifests.
package source

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/model"
)

// Event says that an object has changed or was deleted. Exactly one of the pointers is set.
// Receivers must not change the object.
type Event struct {
	Service *corev1.Service
	Slice   *discoveryv1.EndpointSlice
	Node    *corev1.Node
	Deleted bool
	Origin  string // the source of the object, for messages: a file and document, or empty
}

// Sink receives the events of a Source. Its methods are safe from any goroutine, and return at
// once.
type Sink interface {
	// Events delivers changes in order. The changes of one call belong together: one round
	// programs them all.
	Events([]Event)
	// Loaded says that the source has delivered all objects that it can read, but could not
	// read some: the loop may program the known ones, and must remove or refuse nothing. A
	// second call, or one after Synced, changes nothing.
	Loaded()
	// Synced says that the source has delivered all objects that existed at the start. Before
	// that, the loop must remove nothing from the kernel. A second call changes nothing.
	Synced()
	// Problems replaces the problems of the source itself, such as unreadable files. It is
	// empty if there are none.
	Problems([]model.Problem)
}

// Source delivers the objects of one place.
type Source interface {
	// Run delivers all objects, and then every change, until ctx ends. It retries failures
	// that may pass, and reports them by Sink.Problems. It returns only other errors.
	Run(ctx context.Context, sink Sink) error
}
