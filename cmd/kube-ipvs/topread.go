package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/explain"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
	"kube-ipvs/proxier/traffic"
)

// topReader reads the counters of virtual servers, and finds their Services by the comments of
// set entries.
type topReader struct {
	config  desired.Config
	flows   bool      // count in conntrack, too
	service model.Key // its endpoints are read; zero: all Services are
	view    *kernel.View
	entries func(ctx context.Context, note func(state.ID, state.SpecRef)) error // of sets; view.Frontends, but for tests
	behind  map[state.ID]model.Key                                              // by virtual server
	dialled status.Dialled
}

func openTop(c desired.Config, flows bool, service model.Key) *topReader {
	view := kernel.NewView(c.IPv6)
	return &topReader{config: c, flows: flows && service == model.Key{}, service: service, view: view, entries: view.Frontends}
}

// Rows is part of counters. The first call fails if the Service is not served.
func (r *topReader) Rows(ctx context.Context) ([]traffic.Row, error) {
	servers, err := r.view.ServerCounts()
	if err != nil {
		return nil, err
	}
	if err := r.name(ctx, servers); err != nil {
		return nil, err
	}
	if r.service != (model.Key{}) {
		return r.endpoints(servers)
	}
	rows := make([]traffic.Row, 0, len(servers))
	for id, c := range servers {
		rows = append(rows, traffic.Row{ServedPort: report.ServedPort{Key: r.behind[id], Whole: r.config.SeesAll(id)}, Of: id, Counted: c})
	}
	return rows, nil
}

// endpoints returns the rows of the Service's endpoints. Their addresses name them.
func (r *topReader) endpoints(servers map[state.ID]kernel.Counted) ([]traffic.Row, error) {
	var rows []traffic.Row
	for id := range servers {
		if r.behind[id] != r.service {
			continue
		}
		reals, err := r.view.RealServerCounts(id)
		if err != nil {
			return nil, err
		}
		for real, c := range reals {
			rows = append(rows, traffic.Row{
				ServedPort: report.ServedPort{Key: r.service, Whole: r.config.SeesAll(id)}, Endpoint: real.Endpoint().String(), Of: real,
				Counted: c, Standing: c.Load(real).Standing(nil),
			})
		}
	}
	return rows, nil
}

// name reads the sets at first for a Service, and again if a virtual server has no Service yet.
func (r *topReader) name(ctx context.Context, servers map[state.ID]kernel.Counted) error {
	first := r.behind == nil && r.service != (model.Key{})
	strange := first
	for id := range servers {
		_, known := r.behind[id]
		strange = strange || !known
	}
	if !strange {
		return nil
	}
	x, err := status.ReadIndex(func(note func(state.ID, state.SpecRef)) error { return r.entries(ctx, note) })
	if err != nil {
		return err
	}
	if served := x.Services(); first && !slices.Contains(served, r.service) {
		return fmt.Errorf("kube-ipvs serves no Service %s here%s", r.service, explain.Meant(r.service, served))
	}
	r.behind, r.dialled = x.Behind(r.config), x.Dialled()
	for id := range servers {
		if _, known := r.behind[id]; !known {
			r.behind[id] = model.Key{Name: "(unpublished)"}
		}
	}
	return nil
}

// Open is part of counters.
func (r *topReader) Open() (map[model.Key]uint64, error) {
	if !r.flows {
		return nil, nil
	}
	open := map[model.Key]uint64{}
	err := r.view.OpenConnections(func(proto state.Protocol, to netip.AddrPort) {
		if s, ok := r.dialled.At(proto, to); ok {
			open[s]++
		}
	})
	return open, err
}
