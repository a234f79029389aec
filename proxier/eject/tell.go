package eject

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kube-ipvs/proxier/model"
)

// Sum returns how many endpoints of Services are ejected, by the last Tell, and how many
// ejections there were since the last Sum.
func (w *Watch) Sum() (now, since int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, w.ejections = w.ejections, 0
	return w.ejected, since
}

// Tell puts the problems of Services on a board: that endpoints are ejected, or that they do not
// answer and are not ejected. identity returns the origin and the UID of a Service. The cost
// depends on the Services that have changed since the last Tell.
func (w *Watch) Tell(b *model.Board, identity func(model.Key) (origin, uid string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.untold {
		var problems []model.Problem
		if of := w.services[key]; of != nil {
			dead := of.ejected()
			w.ejected += len(dead) - of.told
			of.told = len(dead)
			problems = of.problems(dead)
		}
		for i := range problems {
			p := &problems[i]
			p.Object, p.Field, p.Reason = "Service "+key.String(), model.AnnotationField(model.EjectAfterAnnotation), model.EndpointsSilent
			p.Origin, p.UID = identity(key)
		}
		b.Set(model.Topic{By: "eject", Kind: "Service", Key: key}, problems)
	}
	clear(w.untold)
}

// problems returns problems that have a message alone.
func (of *service) problems(dead []netip.AddrPort) (out []model.Problem) {
	n := 0
	for _, e := range of.endpoints {
		if e.rendered == of.rendering {
			n++
		}
	}
	say := func(silent []netip.AddrPort, then string) {
		if len(silent) > 0 {
			out = append(out, model.Problem{Message: fmt.Sprintf("no answer to this node from %s, of %d endpoints; %s", list(silent), n, then)})
		}
	}
	say(dead, "no new connections there until they answer")
	say(of.spared, "they are not ejected, since more than half would be, or no other answers")
	return out
}

// ejected returns the ejected endpoints, sorted.
func (of *service) ejected() []netip.AddrPort {
	var out []netip.AddrPort
	for at, e := range of.endpoints {
		if e.rendered == of.rendering && e.isEjected() {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// spare notes the endpoints that do not answer and are not ejected, and reports whether they are
// others than before. Until a pause has passed, no endpoint of the Service is suspect.
func (of *service) spare(silent []netip.AddrPort) (changed bool) {
	changed = !slices.Equal(of.spared, silent)
	of.spared = silent
	if len(silent) == 0 {
		of.pause = 0
		return changed
	}
	of.pause = longer(of.pause)
	of.calm = time.Now().Add(of.pause)
	return changed
}

// named is the most endpoints that a problem names.
const named = 3

// list names endpoints.
func list(all []netip.AddrPort) string {
	text := ""
	for i, at := range all[:min(len(all), named)] {
		if i > 0 {
			text += ", "
		}
		text += at.String()
	}
	if more := len(all) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
