package status

import (
	"context"
	"strings"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// View is what a page shows, and /state says. Fields are added, and those that
// there are keep their names and meanings.
type View struct {
	Time    time.Time      `json:"time"`
	Node    string         `json:"node"`
	Version string         `json:"version"`
	Mode    string         `json:"clusterIPServers"`
	Health  Health         `json:"health"`
	Objects map[string]int `json:"objects"` // in the kernel, after the last round, by kind

	Draining      int       `json:"draining"`           // endpoints that finish their connections
	Drains        []Drain   `json:"drains"`             // of these, those that have been for the longest time
	LastAudit     time.Time `json:"lastAudit,omitzero"` // when everything was last compared with the kernel
	Failing       Failing   `json:"failing"`
	Problems      []Problem `json:"problems"` // of what was asked for: those that the search finds, the first of them
	ProblemsFound int       `json:"problemsFound"`
	Drift         []Drift   `json:"drift"`  // found of late, oldest first
	Rounds        []Round   `json:"rounds"` // the last ones, oldest first

	Query     string    `json:"query"`
	Troubled  bool      `json:"onlyProblems"`
	Total     int       `json:"total"`    // ports of Services
	Found     int       `json:"found"`    // of total, those that the search finds
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

// Failing says which writes do not succeed.
type Failing struct {
	Count   int         `json:"count"`
	Others  int         `json:"neighboursFault"` // of Count, those that wait for another or are in somebody else's way
	Objects []Unwritten `json:"objects"`         // those that have failed for the longest time
}

// Unwritten is a write that has failed and not succeeded since.
type Unwritten struct {
	Since  time.Time `json:"since"`
	Write  string    `json:"write"`
	Reason string    `json:"reason"`
}

// Drain is an endpoint that finishes its connections.
type Drain struct {
	Since    time.Time `json:"since"`
	Endpoint string    `json:"endpoint"`
	Server   string    `json:"virtualServer"`
	Service  string    `json:"service,omitempty"` // namespace/name:port; empty: it is no Service's any more
}

// Problem is something wrong with what was asked for.
type Problem struct {
	Object  string `json:"object,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Origin  string `json:"origin,omitempty"`
}

const (
	pageSize      = 50  // ports of Services
	mostFrontends = 32  // of a port
	mostProblems  = 100 // that are told one by one
)

// view puts together what a request asks for.
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

// lastRound tells of the last round, and returns what is wrong with each
// Service, by namespace/name.
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
	v.Failing.Count, v.Failing.Others = r.Failing.Count, r.Failing.Others
	for _, u := range r.Unwritten {
		v.Failing.Objects = append(v.Failing.Objects, Unwritten{u.Since, u.Op.String(), u.Err.Error()})
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

// tells reports whether every word of the search is in a problem.
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

// services reads those that the search finds, as many as a page has.
func (p *Page) services(ctx context.Context, v *View, q query, troubled map[string][]string) error {
	x, err := p.index(ctx)
	if err != nil {
		return err
	}
	v.Total = len(x.ports)
	p.nameDrains(v, x)
	found, err := p.find(ctx, x, q, troubled)
	if err != nil {
		return err
	}
	v.Found = len(found)
	v.Pages = max(1, (len(found)+pageSize-1)/pageSize)
	v.Page = min(q.page, v.Pages)
	found = found[(v.Page-1)*pageSize : min(v.Page*pageSize, len(found))]
	known, err := p.read(ctx, found)
	if err != nil {
		return err
	}
	a := arranger{index: x, servers: known, behind: p.config.Desired.Servers, shown: map[state.ID]bool{}}
	for _, f := range found {
		s := a.service(f, mostFrontends)
		s.Problems = troubled[f.service()]
		v.Services = append(v.Services, s)
	}
	return nil
}

// nameDrains says whose endpoints drain.
func (p *Page) nameDrains(v *View, x *index) {
	r := p.config.Last()
	if r == nil || len(r.Drains) == 0 {
		return
	}
	of := map[state.ID]string{}
	for _, d := range r.Drains {
		of[d.ID.Server()] = ""
	}
	for i := range x.ports {
		for _, entry := range x.ports[i].frontends {
			for _, id := range p.config.Desired.Servers(entry) {
				if _, wanted := of[id]; wanted {
					of[id] = x.ports[i].name
				}
			}
		}
	}
	for _, d := range r.Drains {
		server := d.ID.Server()
		at := server.AddrPort().String() + "/" + server.Proto.String()
		v.Drains = append(v.Drains, Drain{d.Since, d.ID.Endpoint().String(), at, of[server]})
	}
}

// service returns namespace/name of a port.
func (p *port) service() string {
	if at := strings.LastIndexByte(p.name, ':'); at >= 0 {
		return p.name[:at]
	}
	return p.name
}

// find returns the ports that the search is for.
func (p *Page) find(ctx context.Context, x *index, q query, troubled map[string][]string) ([]*port, error) {
	if err := p.lookUp(ctx, x, q.terms); err != nil {
		return nil, err
	}
	var found []*port
ports:
	for i := range x.ports {
		at := &x.ports[i]
		if q.problems && troubled[at.service()] == nil && !x.turnsAway(at) {
			continue
		}
		for j := range q.terms {
			if !q.terms[j].matches(at, p.config.Desired.Servers) {
				continue ports
			}
		}
		found = append(found, at)
	}
	return found, nil
}

// lookUp finds out which virtual servers have an endpoint at addresses that
// are no frontend's. Only that must read all real servers.
func (p *Page) lookUp(ctx context.Context, x *index, terms []term) error {
	var sought []*term
	for i := range terms {
		if terms[i].addr.IsValid() && !x.any(&terms[i], p.config.Desired.Servers) {
			terms[i].real = map[state.ID]bool{}
			sought = append(sought, &terms[i])
		}
	}
	if len(sought) == 0 {
		return nil
	}
	return p.config.Kernel.EachReal(ctx, func(real state.ID, _, _ uint32) {
		for _, t := range sought {
			if t.meets(real) {
				t.real[real.Server()] = true
			}
		}
	})
}

// any reports whether the term matches something.
func (x *index) any(t *term, behind func(state.ID) []state.ID) bool {
	for i := range x.ports {
		if t.matches(&x.ports[i], behind) {
			return true
		}
	}
	return false
}

// read asks for the virtual servers of the first frontends of ports.
func (p *Page) read(ctx context.Context, ports []*port) (*servers, error) {
	var ids []state.ID
	seen := map[state.ID]bool{}
	for _, at := range ports {
		entries, _ := at.first(mostFrontends)
		for _, entry := range entries {
			for _, id := range p.config.Desired.Servers(entry) {
				if !seen[id] {
					seen[id] = true
					ids = append(ids, id)
				}
			}
		}
	}
	known := newServers()
	err := p.config.Kernel.Servers(ctx, ids, func(id state.ID, spec state.SpecRef, active, inactive uint32) {
		known.note(id, spec, Connections{active, inactive})
	})
	return known, err
}

// index returns which frontends there are. It is read again after the loop
// has changed some, but not at once, and after a while anyway: others may have.
func (p *Page) index(ctx context.Context) (*index, error) {
	changes, age := p.config.Board.changes(), time.Since(p.indexed)
	if p.frontends != nil && (age < fresh || age < stale && changes == p.changes) {
		return p.frontends, nil
	}
	now, s := time.Now(), newSorter()
	if err := p.config.Kernel.Frontends(ctx, s.note); err != nil {
		return nil, err
	}
	p.frontends, p.indexed, p.changes = s.index(), now, changes
	return p.frontends, nil
}
