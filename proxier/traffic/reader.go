package traffic

import (
	"context"
	"net/netip"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Row has the kernel's counters of a virtual server, or of one real server behind it,
// since that was made. When the kernel makes it anew, the counters begin at 0, or go on
// if the kernel still remembers the old one. A reading has one kind of row for a virtual
// server: the rows of a Service port are added up.
//
// Whole says that packets, bytes, Active and Inactive are known in full. A series with a
// row that is not whole exports Connections only, so that no exported value is too low.
type Row struct {
	report.ServedPort
	Endpoint       string         // the pod's name if known, else its address; empty: the row counts for the virtual server alone
	Of             state.ID       // the virtual or real server; two rows with the same Of are one that was read twice
	kernel.Counted                // since Of was made
	Standing       state.Standing // of a real server
}

// Counters reads the counters of IPVS; kernel.View implements it.
type Counters interface {
	ServerCounts() (map[state.ID]kernel.Counted, error)
	RealServerCounts(server state.ID) (map[state.ID]kernel.Counted, error)
}

// Names returns the Service port of a virtual server, and the pod of an endpoint.
// PodOf returns "" for an unknown pod.
type Names interface {
	Served(server state.ID) (report.ServedPort, bool)
	PodOf(service model.Key, endpoint netip.Addr) string
}

// Reader joins what IPVS has counted with the names of Services and pods.
type Reader struct {
	Counters  Counters
	Names     Names
	Endpoints bool                 // true: one row a real server; false: one row a virtual server
	Reduced   func() state.Reduced // the desired weights that are reduced; it may return nil: not known
}

// Rows reads the counters, in no order. A virtual server that Names does not know has
// no row: it is about to be removed, or not rendered yet.
func (r *Reader) Rows(ctx context.Context) ([]Row, error) {
	servers, err := r.Counters.ServerCounts()
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(servers))
	var reduced state.Reduced
	if r.Endpoints && r.Reduced != nil {
		reduced = r.Reduced()
	}
	for id, counted := range servers {
		served, ok := r.Names.Served(id)
		switch {
		case !ok:
		case r.Endpoints:
			if rows, err = r.endpoints(rows, id, served, reduced); err != nil {
				return nil, err
			}
		default:
			rows = append(rows, Row{served, "", id, counted, ""})
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// endpoints appends a row for each real server. A virtual server without real servers
// gets a row of its own, so that the metrics keep its Service.
func (r *Reader) endpoints(rows []Row, server state.ID, served report.ServedPort, reduced state.Reduced) ([]Row, error) {
	reals, err := r.Counters.RealServerCounts(server)
	if err != nil {
		return nil, err
	}
	if len(reals) == 0 {
		rows = append(rows, Row{ServedPort: served, Of: server})
	}
	for real, counted := range reals {
		pod := r.Names.PodOf(served.Key, real.Peer())
		if pod == "" {
			pod = real.Peer().String()
		}
		rows = append(rows, Row{served, pod, real, counted, counted.Load(real).Standing(reduced)})
	}
	return rows, nil
}
