package health_test

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/metrics"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// How a daemon puts the parts together.
func Example() {
	var p *proxier.Proxier // made below; Backlog and Stuck are asked for only afterwards
	var ctx context.Context
	var log *slog.Logger
	var wg sync.WaitGroup

	families := state.Families(true)

	h := health.New(health.Config{
		Families: families, SyncPeriod: 30 * time.Second, NodeExpected: true,
		Backlog: func() report.Backlog { return p.Backlog() }, Stuck: func() time.Duration { return p.Stuck() },
	})
	m := metrics.New(metrics.Config{Version: "v1.0.0", Families: families, Backlog: func() report.Backlog { return p.Backlog() }, Healthy: h.Healthy, Ready: h.Ready})
	ports := health.NewPorts(health.PortsConfig{
		Addresses: func() ([]netip.Addr, error) { return nil, nil }, IPv6: true, Healthy: h.Healthy, Log: log,
	})
	observe := func(r *report.Round) {
		h.Observe(r)
		m.Observe(r)
		ports.Observe(r)
	}
	p = proxier.New(nil, proxier.Config{Observe: observe, Log: log})

	wg.Go(func() { ports.Run(ctx) })
	wg.Go(func() { _ = health.Serve(ctx, "0.0.0.0:10256", h.Handler(), false, log) })
	pages := health.Pages{Version: "v1.0.0", Mode: "ipvs", Metrics: m.Handler(log)}
	wg.Go(func() { _ = health.Serve(ctx, "127.0.0.1:10249", pages.Handler(), false, log) })
	p.Run(ctx)
	wg.Wait()
}
