package status

import (
	"context"
	"strings"
	"time"

	"kube-ipvs/proxier/model"
)

// View is the content of a page, and of /state. Later versions may add fields, and keep the names
// and meanings of these.
type View struct {
	Time    time.Time      `json:"time"`
	Node    string         `json:"node"`
	Version string         `json:"version"`
	Mode    string         `json:"clusterIPServers"`
	Health  Health         `json:"health"`
	Objects map[string]int `json:"objects"` // in the kernel, after the last round, by kind

	Draining      int       `json:"draining"`           // endpoints that finish their connections
	Drains        []Drain   `json:"drains"`             // the longest of these
	LastAudit     time.Time `json:"lastAudit,omitzero"` // when everything was last compared with the kernel
	Failing       Failing   `json:"failing"`
	Problems      []Problem `json:"problems"` // the first ones that match the search
	ProblemsFound int       `json:"problemsFound"`
	Drift         []Drift   `json:"drift"`  // the last ones, oldest first
	Rounds        []Round   `json:"rounds"` // the last ones, oldest first

	Query     string    `json:"query"`
	Troubled  bool      `json:"onlyProblems"`
	Total     int       `json:"total"`    // ports of Services
	Found     int       `json:"found"`    // ports of Services that match the search
	Page      int       `json:"page"`     // from 1
	Pages     int       `json:"pages"`    // at least 1
	PageSize  int       `json:"pageSize"` // ports of Services
	Services  []Service `json:"services"`
	ReadError string    `json:"error,omitempty"` // why services could not be read
}

// Health is the verdict of the probes.
type Health struct {
	Healthy  bool      `json:"healthy"`
	Reason   string    `json:"reason,omitempty"`
	Ready    bool      `json:"ready"`
	NotReady string    `json:"notReady,omitempty"`
	Waiting  int       `json:"changesWaiting"`
	Since    time.Time `json:"waitingSince,omitzero"`
}

// Failing counts the writes that have failed and not succeeded since.
type Failing struct {
	Count   int         `json:"count"`
	Causes  Causes      `json:"causes"`  // Count, by cause
	Objects []Unwritten `json:"objects"` // those that have failed the longest
}

// Causes counts failing writes by cause.
type Causes struct {
	Node    int `json:"node"`
	Object  int `json:"object"`
	Foreign int `json:"foreign"`
	Blocked int `json:"blocked"`
}

// Unwritten is a write that has failed and not succeeded since.
type Unwritten struct {
	Since  time.Time `json:"since"`
	Write  string    `json:"write"`
	Reason string    `json:"reason"`
	Cause  string    `json:"cause"`
}

// Drain is an endpoint that finishes its connections.
type Drain struct {
	Since    time.Time `json:"since"`
	Endpoint string    `json:"endpoint"`
	Server   string    `json:"virtualServer"`
	Service  string    `json:"service,omitempty"` // namespace/name:port; empty: no Service has it any more
}

// Problem is a fault of a Service, an EndpointSlice, the Node or the source.
type Problem struct {
	Object  string `json:"object,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Origin  string `json:"origin,omitempty"`
}

const (
	pageSize      = 50  // ports of Services
	mostFrontends = 32  // of a port
	mostProblems  = 100 // problems that are listed
)

// view makes the View of a request.
func (p *Page) view(ctx context.Context, q query) *View {
	v := &View{
		Time: time.Now(), Node: p.config.Node, Version: p.config.Version, Mode: string(p.config.Desired.Mode),
		Query: q.text, Troubled: q.problems, PageSize: pageSize, Page: 1, Pages: 1, Services: []Service{}, Drains: []Drain{},
	}
	v.Health.Reason = p.config.Unhealthy()
	v.Health.Healthy = v.Health.Reason == ""
	v.Health.Ready, v.Health.NotReady = p.config.Ready()
	b := p.config.Backlog()
	v.Health.Waiting, v.Health.Since = b.Services+b.Slices, b.Since
	p.config.Board.tell(v)
	troubled := p.lastRound(v, q)
	if err := p.services(ctx, v, q, troubled); err != nil {
		v.ReadError = err.Error()
	}
	return v
}

// lastRound adds the last round to the View, and returns the problems of each Service, by
// namespace/name.
func (p *Page) lastRound(v *View, q query) map[string][]string {
	v.Objects, v.Problems, v.Failing.Objects = map[string]int{}, []Problem{}, []Unwritten{}
	r := p.config.Last()
	if r == nil {
		return nil
	}
	if r.Objects != nil {
		v.Objects = r.Objects
	}
	v.Draining = r.Draining
	f := &r.Failing
	v.Failing.Count, v.Failing.Causes = f.All(), Causes{f.Node, f.Object, f.Foreign, f.Blocked}
	for _, u := range r.Unwritten {
		v.Failing.Objects = append(v.Failing.Objects, Unwritten{u.Since, u.Op.String(), u.Err.Error(), string(u.Cause)})
	}
	troubled := map[string][]string{}
	for _, pr := range r.Problems {
		if name, ok := strings.CutPrefix(pr.Object, "Service "); ok {
			troubled[name] = append(troubled[name], sentence(pr))
		}
		if !q.tells(pr) {
			continue
		}
		v.ProblemsFound++
		if len(v.Problems) < mostProblems {
			v.Problems = append(v.Problems, Problem{pr.Object, pr.Field, pr.Message, pr.Origin})
		}
	}
	return troubled
}

func sentence(pr model.Problem) string {
	if pr.Field != "" {
		return pr.Field + ": " + pr.Message
	}
	return pr.Message
}

// tells reports whether a problem has every word of the search.
func (q *query) tells(pr model.Problem) bool {
	text := ""
	for i := range q.terms {
		if text == "" {
			text = strings.ToLower(pr.String())
		}
		if !strings.Contains(text, q.terms[i].text) {
			return false
		}
	}
	return true
}
