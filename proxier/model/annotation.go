package model

import (
	"slices"
	"strings"
)

// AnnotationPrefix begins the annotations that are for kube-ipvs.
const AnnotationPrefix = "kube-ipvs/"

// known are the annotations of a Service that kube-ipvs reads.
var known = []string{EjectAfterAnnotation, MaxConnectionsAnnotation, SchedulerAnnotation, SlowStartAnnotation, WeightsAnnotation}

// knownOfSlices are those of an EndpointSlice.
var knownOfSlices = []string{SliceWeightAnnotation}

// noteUnknown notes the annotations with kube-ipvs's prefix that it does not know, such as
// misspelled ones. It makes one remark for all.
func noteUnknown(annotations map[string]string, known []string, c *critic) {
	var unknown []string
	for name := range annotations {
		if strings.HasPrefix(name, AnnotationPrefix) && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return
	}
	first, are := slices.Min(unknown), strings.Join(known, ", ")
	// The field becomes a label of metrics and part of an Event's name: it has no text of tenants.
	const field = "metadata.annotations"
	if more := len(unknown) - 1; more > 0 {
		c.fault(field, "they are ignored", "%d annotations such as %.64q are unknown; known with this prefix: %s", more+1, first, are)
		return
	}
	c.fault(field, "it is ignored", "%.64q is unknown; known with this prefix: %s", first, are)
}
