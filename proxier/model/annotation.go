package model

import (
	"slices"
	"strings"
)

// AnnotationPrefix begins the annotations of a Service that are for kube-ipvs.
const AnnotationPrefix = "kube-ipvs/"

// noteUnknown notes the annotations with kube-ipvs's prefix that it does not know, such as
// misspelled ones. It makes one remark for all.
func noteUnknown(annotations map[string]string, c *critic) {
	var unknown []string
	for name := range annotations {
		if strings.HasPrefix(name, AnnotationPrefix) && name != SchedulerAnnotation {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return
	}
	first := slices.Min(unknown)
	// The field becomes a label of metrics and part of an Event's name: it has no text of tenants.
	const field = "metadata.annotations"
	if more := len(unknown) - 1; more > 0 {
		c.fault(field, "they are ignored", "%d annotations such as %q are unknown; the one known with this prefix is %s", more+1, first, SchedulerAnnotation)
		return
	}
	c.fault(field, "it is ignored", "%q is unknown; the one known annotation with this prefix is %s", first, SchedulerAnnotation)
}
