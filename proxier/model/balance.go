package model

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The annotations that say how the connections of a Service are balanced over its endpoints.
const (
	SchedulerAnnotation      = AnnotationPrefix + "scheduler"
	WeightsAnnotation        = AnnotationPrefix + "weights"
	SlowStartAnnotation      = AnnotationPrefix + "slow-start"
	MaxConnectionsAnnotation = AnnotationPrefix + "max-connections"
	EjectAfterAnnotation     = AnnotationPrefix + "eject-after"

	// SliceWeightAnnotation is the weight of the endpoints of an EndpointSlice, for Services
	// whose weights have the item "slices".
	SliceWeightAnnotation = AnnotationPrefix + "weight"
)

// Balance says how the connections of a Service are balanced over its endpoints. It is the
// same for all of its frontends.
type Balance struct {
	Scheduler      Scheduler
	Weights        []WeightRule  // the first that matches an endpoint counts; no rules: all weights are 1
	SlowStart      time.Duration // in which the weight of a new endpoint rises; 0: at once
	EjectAfter     time.Duration // in which a TCP endpoint that does not answer gets no new connections any more; 0: never
	MaxConnections uint32        // of one endpoint through one node and frontend, as IPVS counts them; 0: any number
}

// Scheduler is an IPVS scheduler with its flags.
type Scheduler struct {
	Name           string // empty: the node's default
	Chosen         bool   // Fallback and Port are given; if not, kube-ipvs chooses the flags
	Fallback, Port bool   // flags of sh and mh
}

// Weighted reports whether endpoints may have different weights, so that the scheduler must
// be one that reads them.
func (b *Balance) Weighted() bool { return len(b.Weights) > 0 || b.SlowStart > 0 }

// noBalance is that of a Service without annotations. Such Services share it.
var noBalance = &Balance{}

// The bounds of annotations.
const (
	maxScheduler   = 15 // IP_VS_SCHEDNAME_MAXLEN of linux/ip_vs.h, without the NUL
	maxRules       = 64
	maxWeight      = 1000
	maxSlowStart   = time.Hour
	minEjectAfter  = 3 * time.Second
	maxEjectAfter  = time.Minute
	maxConnections = 1 << 30
)

func readBalance(annotations map[string]string, c *critic) *Balance {
	if !slices.ContainsFunc(known, func(name string) bool { return annotations[name] != "" }) {
		return noBalance
	}
	return &Balance{
		Scheduler:      readScheduler(annotations[SchedulerAnnotation], c),
		Weights:        readWeights(annotations[WeightsAnnotation], c),
		SlowStart:      readSlowStart(annotations[SlowStartAnnotation], c),
		EjectAfter:     readEjectAfter(annotations[EjectAfterAnnotation], c),
		MaxConnections: readMaxConnections(annotations[MaxConnectionsAnnotation], c),
	}
}

// AnnotationField returns the field of a Problem for an annotation.
func AnnotationField(name string) string { return "metadata.annotations[" + name + "]" }

// readScheduler reads a scheduler such as "lc", or "mh,fallback,port".
func readScheduler(text string, c *critic) Scheduler {
	name, flags, given := strings.Cut(text, ",")
	s := Scheduler{Name: name, Chosen: given}
	bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	if len(name) > maxScheduler || strings.ContainsFunc(name, bad) {
		c.fault(AnnotationField(SchedulerAnnotation), "the node's scheduler is used",
			"%.64q is not a scheduler name of up to %d lower-case letters and digits", name, maxScheduler)
		return Scheduler{}
	}
	if !given {
		return s
	}
	for flag := range strings.SplitSeq(flags, ",") {
		switch {
		case name != "sh" && name != "mh":
			c.fault(AnnotationField(SchedulerAnnotation), "the flags are ignored", "only sh and mh have flags, and %q is neither", name)
			return Scheduler{Name: name}
		case flag == "fallback":
			s.Fallback = true
		case flag == "port":
			s.Port = true
		default:
			c.fault(AnnotationField(SchedulerAnnotation), "the flags are ignored", "%.64q is not a flag: the flags are fallback and port", flag)
			return Scheduler{Name: name}
		}
	}
	return s
}

func readSlowStart(text string, c *critic) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxSlowStart {
		c.fault(AnnotationField(SlowStartAnnotation), "new endpoints get their full weight at once", "%.64q is not a time from 1s to 1h", text)
		return 0
	}
	return d
}

func readEjectAfter(text string, c *critic) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minEjectAfter || d > maxEjectAfter {
		c.fault(AnnotationField(EjectAfterAnnotation), "dead endpoints stay until their EndpointSlice says so", "%.64q is not a time from 3s to 1m", text)
		return 0
	}
	return d
}

func readMaxConnections(text string, c *critic) uint32 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > maxConnections {
		c.fault(AnnotationField(MaxConnectionsAnnotation), "there is no limit", "%.64q is not a whole number from 1 to %d", text, maxConnections)
		return 0
	}
	return uint32(n)
}

// WeightRule gives endpoints a weight.
type WeightRule struct {
	By      Attribute
	Value   string // of the attribute; "own" of Zone and NodeName: that of the node that decides
	Weight  uint32 // of each endpoint, or the percentage of connections that they get together
	Percent bool
}

// Attribute is the attribute of an endpoint by which a WeightRule selects.
type Attribute string

// The attributes.
const (
	ByZone     Attribute = "zone"     // the endpoint's zone, by the EndpointSlice
	ByNode     Attribute = "node"     // the name of its node
	ByWorkload Attribute = "workload" // the Deployment, StatefulSet, DaemonSet or ReplicaSet of its pod, by the pod's name
	BySlice    Attribute = "slices"   // every endpoint: the annotation of its EndpointSlice
	ByAny      Attribute = "*"        // every endpoint
)

// own is the value by which a rule means the zone or the node that decides.
const own = "own"

// readWeights reads rules such as "workload=web-canary:10%,zone=a:3,*:1".
func readWeights(text string, c *critic) []WeightRule {
	if text == "" {
		return nil
	}
	var rules []WeightRule
	percent := uint32(0)
	for item := range strings.SplitSeq(text, ",") {
		r, why := readRule(strings.TrimSpace(item))
		if r.Percent {
			percent += r.Weight
		}
		switch {
		case why != "":
		case len(rules) == maxRules:
			why = "there are more than " + strconv.Itoa(maxRules) + " rules"
		case percent > 100:
			why = "the percentages are more than 100 together"
		}
		if why != "" {
			c.fault(AnnotationField(WeightsAnnotation), "all endpoints have the same weight", "%s", why)
			return nil
		}
		rules = append(rules, r)
	}
	return rules
}

// readRule returns a rule, or why the text is none.
func readRule(item string) (r WeightRule, why string) {
	if item == string(BySlice) {
		return WeightRule{By: BySlice}, ""
	}
	// A value may be the name of a node or a zone, which has no colon.
	selector, weight, ok := strings.Cut(item, ":")
	attribute, value, hasValue := strings.Cut(selector, "=")
	r.By, r.Value = Attribute(attribute), value
	weight, r.Percent = strings.CutSuffix(weight, "%")
	n, err := strconv.ParseUint(weight, 10, 32)
	r.Weight = uint32(n)
	switch known := r.By == ByZone || r.By == ByNode || r.By == ByWorkload; {
	case !ok, known != hasValue, known && value == "", !known && r.By != ByAny:
		return r, shortQuote(item) + " is not a rule: rules are zone=NAME:WEIGHT, node=NAME:WEIGHT, workload=NAME:WEIGHT, *:WEIGHT and slices"
	case r.Percent && (err != nil || n > 100):
		return r, shortQuote(item) + " does not end with a whole number from 0 to 100 and %"
	case err != nil || n > maxWeight:
		return r, shortQuote(item) + " does not end with a weight from 0 to " + strconv.Itoa(maxWeight)
	}
	return r, ""
}

func shortQuote(text string) string { return strconv.Quote(text[:min(len(text), 64)]) }

// Workload returns the name of the Deployment, or else of the StatefulSet, DaemonSet or
// ReplicaSet, that a pod's name shows. Kubernetes names pods NAME-SUFFIX, and those of
// Deployments NAME-HASH-SUFFIX.
func Workload(pod string) string {
	at := max(strings.LastIndexByte(pod, '-'), 0)
	owner := pod[:at]
	if at = strings.LastIndexByte(owner, '-'); at > 0 && isTemplateHash(owner[at+1:]) {
		return owner[:at]
	}
	return owner
}

// isTemplateHash reports whether a part of a name is the hash of a pod template: the digits
// of a number of 32 bits in an alphabet without vowels (k8s.io/apimachinery/pkg/util/rand).
// A number of less than six digits is rare, and a name that ends so is not, such as web-2.
func isTemplateHash(part string) bool {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	return len(part) >= 6 && len(part) <= 10 && strings.Trim(part, alphabet) == ""
}

// readSliceWeight returns the weight of an EndpointSlice, 1 if it does not say.
func readSliceWeight(annotations map[string]string, c *critic) uint32 {
	text := cmp.Or(annotations[SliceWeightAnnotation], "1")
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > maxWeight {
		c.fault(AnnotationField(SliceWeightAnnotation), "1 is used", "%.64q is not a weight from 0 to %d", text, maxWeight)
		return 1
	}
	return uint32(n)
}
