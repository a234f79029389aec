package traffic

import (
	"context"
	"net/netip"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Row is what the kernel has counted for a virtual server, or for one endpoint
// behind it, since that came to be. The counters begin at 0 again when the kernel
// makes it anew, or go on if it still remembers the old one. Of one virtual server
// there is either kind of row: all rows of a Service port are added up.
//
// Whole says that packets, bytes, Active and Inactive are known in full. Where they
// are not, only Connections of the series that the row is part of is published:
// nothing is too low.
type Row struct {
	report.ServedPort
	Endpoint       string   // the pod's name if known, else its address; empty: the row is the virtual server's, and counts for no endpoint
	Of             state.ID // the virtual or real server; rows that agree in it are one that was read twice
	kernel.Counted          // since it came to be
}

// Counters is what IPVS has counted, as a kernel.View reads it.
type Counters interface {
	ServerCounts() (map[state.ID]kernel.Counted, error)
	RealServerCounts(server state.ID) (map[state.ID]kernel.Counted, error)
}

// Names tells what virtual servers stand for, and which pods their endpoints are.
// PodOf may return nothing.
type Names interface {
	Served(server state.ID) (report.ServedPort, bool)
	PodOf(service model.Key, endpoint netip.Addr) string
}

// Reader joins what IPVS has counted with the names of Services and pods.
type Reader struct {
	Counters  Counters
	Names     Names
	Endpoints bool // a row is of a real server; false: of a virtual server
}

// Rows reads the counters, in any order. A virtual server that Names does not know
// is about to go or not rendered yet, and has no row.
func (r *Reader) Rows(ctx context.Context) ([]Row, error) {
	servers, err := r.Counters.ServerCounts()
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(servers))
	for id, counted := range servers {
		served, ok := r.Names.Served(id)
		switch {
		case !ok:
		case r.Endpoints:
			if rows, err = r.endpoints(rows, id, served); err != nil {
				return nil, err
			}
		default:
			rows = append(rows, Row{served, "", id, counted})
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// endpoints appends a row for each real server, or one for a virtual server without
// any: its Service would be gone from the metrics.
func (r *Reader) endpoints(rows []Row, server state.ID, served report.ServedPort) ([]Row, error) {
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
		rows = append(rows, Row{served, pod, real, counted})
	}
	return rows, nil
}
