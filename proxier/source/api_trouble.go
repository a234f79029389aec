package source

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-ipvs/proxier/model"
)

// trouble collects the problems of a source, one for each topic.
type trouble struct {
	mu   sync.Mutex
	told map[string]model.Problem
	hear func([]model.Problem)
}

func newTrouble(to func([]model.Problem)) *trouble {
	return &trouble{told: map[string]model.Problem{}, hear: to}
}

func problemOf(object, field, message string) model.Problem {
	return model.Problem{Object: object, Field: field, Message: message}
}

// tell reports a problem of a topic, unless the topic has one.
func (t *trouble) tell(about string, p model.Problem) { t.put(about, p, false) }

// put is tell that may replace the problem of a topic.
func (t *trouble) put(about string, p model.Problem, replace bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.told[about]; known && !replace {
		return
	}
	t.told[about] = p
	t.say()
}

// solved removes the problem of a topic.
func (t *trouble) solved(about string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.told[about]; !known {
		return
	}
	delete(t.told, about)
	t.say()
}

func (t *trouble) say() {
	all := make([]model.Problem, 0, len(t.told))
	for _, p := range t.told {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b model.Problem) int { return cmp.Compare(a.String(), b.String()) })
	t.hear(all)
}

// describe returns the text of a read error, and its topic, which has one problem at a time. A
// problem changes only with its class, so that retries do not fill the log.
func describe(k kind, verb string, err error) (about, class, text string) {
	resource := k.name
	if k.group.Group != "" {
		resource += "." + k.group.Group
	}
	const stays = "; the last known state stays in force"
	switch {
	case apierrors.IsForbidden(err):
		return k.name + " " + verb, "forbidden", fmt.Sprintf("the API server does not let this user %s %s: its role lacks the verb %q for them%s", verb, resource, verb, stays)
	case apierrors.IsUnauthorized(err):
		return k.name, "credentials", fmt.Sprintf("the API server does not accept the credentials for reading %s: the token may have expired%s", resource, stays)
	case apierrors.IsNotFound(err):
		return k.name, "missing", fmt.Sprintf("the API server has no %s/%s%s", resource, k.group.Version, stays)
	}
	return k.name, classOf(err), fmt.Sprintf("%s cannot be read from the API server since %s: %s%s", resource, time.Now().Format(time.TimeOnly), oneLine(err), stays)
}

// classOf returns the class of an error: the code of an answer, or no answer.
func classOf(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fmt.Sprint("answer ", status.Status().Code)
	}
	return "no answer"
}

// oneLine returns an error on one line, without the long query of a request.
func oneLine(err error) string {
	const most = 300
	text := err.Error()
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		where, _, _ := strings.Cut(failed.URL, "?")
		text = where + ": " + failed.Err.Error()
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
