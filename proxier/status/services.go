package status

import (
	"context"
	"time"

	"kube-ipvs/proxier/state"
)

// services reads the Services of one page of the search.
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
		s.Problems = troubled[f.service().String()]
		v.Services = append(v.Services, s)
	}
	return nil
}

// nameDrains adds the Services of draining endpoints.
func (p *Page) nameDrains(v *View, x *Index) {
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

// find returns the ports that match the search.
func (p *Page) find(ctx context.Context, x *Index, q query, troubled map[string][]string) ([]*port, error) {
	if err := p.lookUp(ctx, x, q.terms); err != nil {
		return nil, err
	}
	var found []*port
ports:
	for i := range x.ports {
		at := &x.ports[i]
		if q.problems && troubled[at.service().String()] == nil && !x.turnsAway(at) {
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

// lookUp finds the virtual servers with an endpoint at the addresses of terms that match no
// frontend. Only this reads all real servers.
func (p *Page) lookUp(ctx context.Context, x *Index, terms []term) error {
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

// any reports whether the term matches a port.
func (x *Index) any(t *term, behind func(state.ID) []state.ID) bool {
	for i := range x.ports {
		if t.matches(&x.ports[i], behind) {
			return true
		}
	}
	return false
}

// read reads the virtual servers of the first frontends of ports.
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
	var reduced state.Reduced
	if r := p.config.Last(); r != nil && r.Reduced != nil {
		reduced = r.Reduced()
	}
	known := newServers(reduced)
	err := p.config.Kernel.Servers(ctx, ids, func(id state.ID, spec state.SpecRef, active, inactive uint32) {
		known.note(id, spec, Connections{active, inactive})
	})
	return known, err
}

// index returns the Index. It reads it again some time after the loop has changed frontends, and
// after a while anyway, since other programs may have changed some.
func (p *Page) index(ctx context.Context) (*Index, error) {
	changes, age := p.config.Board.changes(), time.Since(p.indexed)
	if p.frontends != nil && (age < fresh || age < stale && changes == p.changes) {
		return p.frontends, nil
	}
	now := time.Now()
	x, err := ReadIndex(func(note func(state.ID, state.SpecRef)) error { return p.config.Kernel.Frontends(ctx, note) })
	if err != nil {
		return nil, err
	}
	p.frontends, p.indexed, p.changes = x, now, changes
	return x, nil
}
