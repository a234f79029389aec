package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"kube-ipvs/proxier/model"
)

// written says who has counted an Event.
type written int

const (
	byOthers  written = iota // not long ago
	byUs                     // now
	ofAnother                // another node, and for a cause of its own: the Event must expire with that
)

// tell creates the Event, or counts it if its last count is old. It needs only the rights of kube-proxy,
// which may patch Events and not read them: a patch without changes returns the Event.
func (r *Reporter) tell(ctx context.Context, want *eventsv1.Event) (written, error) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	have, err := r.patch(ctx, want, struct{}{})
	if apierrors.IsNotFound(err) {
		return r.create(ctx, want)
	}
	if err != nil {
		return byOthers, err
	}
	if have.Note != want.Note && have.ReportingInstance != want.ReportingInstance {
		return ofAnother, nil
	}
	last, count := have.EventTime, int32(1)
	if s := have.Series; s != nil {
		last, count = s.LastObservedTime, s.Count
	}
	// The clock of the node that counted may be ahead. Then no node counts the Event until it
	// expires, an hour after the count.
	if time.Since(last.Time) < eventAgain {
		return byOthers, nil
	}
	_, err = r.patch(ctx, want, map[string]any{
		"metadata": map[string]string{"resourceVersion": have.ResourceVersion}, // otherwise two nodes could count
		"series":   eventsv1.EventSeries{Count: count + 1, LastObservedTime: metav1.NowMicro()},
	})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return byOthers, nil
	}
	return byUs, err
}

func (r *Reporter) create(ctx context.Context, e *eventsv1.Event) (written, error) {
	err := r.servers.ask(ctx, events, func(c rest.Interface) error {
		return c.Post().Namespace(e.Namespace).Resource("events").Body(e).MaxRetries(0).Do(ctx).Error()
	})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return byOthers, nil
	}
	return byUs, err
}

func (r *Reporter) patch(ctx context.Context, e *eventsv1.Event, change any) (*eventsv1.Event, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	have := &eventsv1.Event{}
	err = r.servers.ask(ctx, events, func(c rest.Interface) error {
		return c.Patch(types.MergePatchType).Namespace(e.Namespace).Resource("events").Name(e.Name).Body(body).MaxRetries(0).Do(ctx).Into(have)
	})
	return have, err
}

// eventName returns the name of the Event, which is the same on all nodes.
func eventName(t *model.Trouble) string {
	const most = 200 // bytes, of 253 in all
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%s %s/%s %s %s%s", t.Kind, t.Namespace, t.Name, t.UID, t.Cause, t.First.Reason) // never fails
	return fmt.Sprintf("%s.%x", strings.TrimRight(t.Name[:min(len(t.Name), most)], ".-"), hash.Sum64())
}

var apiVersions = map[string]string{"EndpointSlice": discoveryv1.SchemeGroupVersion.String()}

// actions has what a node does about a Service that is programmed as it is, by the reason.
var actions = map[string]string{model.EndpointsFull: "Refuse", model.EndpointsSilent: "Eject"}

// event returns a new Event about t.
func (r *Reporter) event(name string, t *model.Trouble) *eventsv1.Event {
	const mostNode = 128 // bytes, by the API
	regarding := corev1.ObjectReference{
		APIVersion: cmp.Or(apiVersions[t.Kind], "v1"), Kind: t.Kind, Namespace: t.Namespace, Name: t.Name, UID: types.UID(t.UID),
	}
	if t.Kind == "Node" {
		regarding.UID = types.UID(t.Name) // as in kubelet and kube-proxy: kubectl describe looks for it
	}
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: cmp.Or(t.Namespace, metav1.NamespaceDefault), Name: name},
		EventTime:  metav1.NowMicro(), ReportingController: "kube-ipvs", ReportingInstance: r.node[:min(len(r.node), mostNode)],
		Action: cmp.Or(actions[t.First.Reason], "Program"), Reason: cmp.Or(t.First.Reason, "NotProgrammed"), Type: corev1.EventTypeWarning, Note: note(t), Regarding: regarding,
	}
}

// note returns the message: the first problem, and the number of the others.
func note(t *model.Trouble) string {
	const most = 1024 // bytes, by the API
	text, more := t.First.Message, ""
	if t.First.Field != "" {
		text = t.First.Field + ": " + text
	}
	if t.Count > 1 {
		more = fmt.Sprintf(" (and %d more like it)", t.Count-1)
	}
	return strings.ToValidUTF8(text[:min(len(text), most-len(more))], "") + more
}
