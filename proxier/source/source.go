// Package source delivers Services, EndpointSlices and the own Node from
// where they are kept, as one stream of events, whatever that place is.
package source

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/model"
)

// Event says that one object is now as given, or gone. Exactly one of the
// pointers is set. Receivers must not change the object.
type Event struct {
	Service *corev1.Service
	Slice   *discoveryv1.EndpointSlice
	Node    *corev1.Node
	Deleted bool
	Origin  string // where it came from, for messages: a file and document, or empty
}

// Sink receives what a Source has to say. Its methods may be called from any
// goroutine and return at once.
type Sink interface {
	// Events delivers changes in order. Those of one call belong together and
	// are seen by the dataplane at once.
	Events([]Event)
	// Loaded says that everything that could be read has been delivered, but
	// something could not: what is known may be programmed, nothing may be
	// removed or refused. Calling it again, or after Synced, changes nothing.
	Loaded()
	// Synced says that everything which existed at the start has been
	// delivered and could be read. Before that nothing may be removed from
	// the kernel. Calling it again changes nothing.
	Synced()
	// Problems replaces what was last said to be wrong with the source itself
	// (unreadable, malformed); empty when all is well again.
	Problems([]model.Problem)
}

// Source is a place where objects are kept.
type Source interface {
	// Run delivers all objects, then every change, until ctx ends. It returns
	// an error only where it could never work; what may pass is retried and
	// told through Sink.Problems.
	Run(ctx context.Context, sink Sink) error
}
