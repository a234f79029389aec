package source

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kube-ipvs/proxier/model"
)

// trouble collects what is wrong with a source, each thing once.
type trouble struct {
	mu    sync.Mutex
	told  map[string]model.Problem
	class map[string]string // of what was told
	hear  func([]model.Problem)
}

func newTrouble(to func([]model.Problem)) *trouble {
	return &trouble{told: map[string]model.Problem{}, class: map[string]string{}, hear: to}
}

func problemOf(object, field, message string) model.Problem {
	return model.Problem{Object: object, Field: field, Message: message}
}

// tell says what is wrong about something, unless it is known.
func (t *trouble) tell(about string, p model.Problem) { t.change(about, "", p) }

// change is tell for what goes wrong in several ways: another class of it
// takes the place of what was told.
func (t *trouble) change(about, class string, p model.Problem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.told[about]; known && t.class[about] == class {
		return
	}
	t.told[about], t.class[about] = p, class
	t.say()
}

// solved says that nothing is wrong about something any more.
func (t *trouble) solved(about string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.told[about]; !known {
		return
	}
	delete(t.told, about)
	delete(t.class, about)
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

// describe says what an error of reading a kind means, and about what it is:
// there is one such problem at a time. It changes with its class only, so that a server which fails in turns
// in several ways does not fill the log.
func describe(k kind, verb string, err error) (about, class, text string) {
	resource := k.name
	if k.group.Group != "" {
		resource += "." + k.group.Group
	}
	const stays = "; everything stays as it was told last"
	switch {
	case apierrors.IsForbidden(err):
		return k.name + " " + verb, "forbidden", fmt.Sprintf("the API server does not let this user %s %s: its role lacks the verb %q for them%s", verb, resource, verb, stays)
	case apierrors.IsUnauthorized(err):
		return k.name, "credentials", fmt.Sprintf("the API server does not accept the credentials for reading %s: is the token expired?%s", resource, stays)
	case apierrors.IsNotFound(err):
		return k.name, "missing", fmt.Sprintf("the API server has no %s/%s%s", resource, k.group.Version, stays)
	}
	return k.name, classOf(err), fmt.Sprintf("%s cannot be read from the API server since %s: %s%s", resource, time.Now().Format(time.TimeOnly), oneLine(err), stays)
}

// classOf tells a server that answers badly from one that does not answer.
func classOf(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fmt.Sprint("answer ", status.Status().Code)
	}
	return "no answer"
}

func oneLine(err error) string {
	const most = 300
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}
