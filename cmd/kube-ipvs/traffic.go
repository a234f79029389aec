package main

import (
	"context"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// traffic joins what IPVS counts with the names of Services and pods.
type traffic struct {
	kernel    *kernel.Traffic
	proxier   *proxier.Proxier
	endpoints bool // one row a real server
}

// Traffic is part of health.TrafficReader.
func (t *traffic) Traffic(ctx context.Context) ([]health.Traffic, error) {
	servers, err := t.kernel.Servers()
	if err != nil {
		return nil, err
	}
	rows := make([]health.Traffic, 0, len(servers))
	for id, counted := range servers {
		served, ok := t.proxier.Served(id)
		if !ok {
			continue // about to go, or not rendered yet
		}
		if !t.endpoints {
			rows = append(rows, row(served, "", id, counted))
			continue
		}
		reals, err := t.kernel.RealServers(id)
		if err != nil {
			return nil, err
		}
		if len(reals) == 0 { // or its Service would be gone from the metrics
			rows = append(rows, row(served, "", id, kernel.Counted{}))
		}
		for real, counted := range reals {
			pod := t.proxier.PodOf(served.Key, real.Peer())
			if pod == "" {
				pod = real.Peer().String()
			}
			rows = append(rows, row(served, pod, real, counted))
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func row(s report.ServedPort, endpoint string, of state.ID, c kernel.Counted) health.Traffic {
	return health.Traffic{
		Namespace: s.Namespace, Service: s.Name, Port: s.Port, Endpoint: endpoint, Of: of,
		Connections: c.Connections, PacketsIn: c.PacketsIn, PacketsOut: c.PacketsOut, BytesIn: c.BytesIn, BytesOut: c.BytesOut,
		Active: c.Active, Inactive: c.Inactive, Whole: s.Whole,
	}
}
