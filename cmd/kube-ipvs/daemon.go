package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier"
	"kube-ipvs/proxier/cluster"
	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/health"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/metrics"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/node"
	"kube-ipvs/proxier/relay"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
	"kube-ipvs/proxier/traffic"
)

// daemon is a running kube-ipvs: the loop, its source, and the servers and metrics beside it.
type daemon struct {
	config  *config.Config // at the start
	flags   *options
	log     *slog.Logger
	proxier *proxier.Proxier
	health  *health.Health
	metrics *metrics.Metrics
	ports   *health.Ports
	objects *objects
	views   []*kernel.View // one for each goroutine that reads beside the loop
	board   *status.Board
	status  *status.Page
	relay   *relay.Relay       // nil: node ports are not served on loopback addresses
	origins *netutil.Conntrack // only for relay
	events  *source.Reporter   // nil: there is no API server
	rounds  chan struct{}      // holds one: there was a round
	links   *netutil.Links     // only for ports
	backend netutil.Backend    // of iptables
	started time.Time
}

// newDaemon makes and connects the parts. It starts none of them.
func newDaemon(o *options, c proxier.Config, k *kernel.Linux, from *objects, listeners []*relay.Listener) (*daemon, error) {
	d := &daemon{config: o.effective, flags: o, log: c.Log, objects: from, rounds: make(chan struct{}, 1), board: &status.Board{}, started: time.Now(), backend: k.Backend()}
	c.Observe = d.observe
	c.ObserveSweep = func(s *report.Sweep) { d.metrics.ObserveSweep(s) }
	if d.config.Own.TrafficMetrics != config.TrafficOff {
		c.Names = cluster.NewNames()
	}
	d.proxier = proxier.New(k, c)
	families := state.Families(c.Desired.IPv6)
	d.health = health.New(health.Config{
		Families: families, SyncPeriod: d.config.Proxy.IPVS.SyncPeriod.Duration, NodeExpected: from.servers != nil,
		Backlog: d.proxier.Backlog, Stuck: d.proxier.Stuck,
	})
	d.metrics = metrics.New(metrics.Config{Version: version, Families: families, Backlog: d.proxier.Backlog, Healthy: d.health.Healthy, Ready: d.health.Ready})
	err := d.metrics.Register(d.health.Answers()...)
	if err != nil {
		return nil, err
	}
	if d.links, err = netutil.OpenLinks(); err != nil {
		return nil, fmt.Errorf("open links: %w", err)
	}
	d.ports = health.NewPorts(health.PortsConfig{
		Addresses: d.addresses, IPv6: c.Desired.IPv6, Healthy: d.health.Healthy, Changed: d.report, Log: d.log,
	})
	if from.servers != nil {
		if d.events, err = source.NewReporter(from.servers, d.config.NodeName, d.log); err != nil {
			return nil, err
		}
	}
	d.addStatus(c.Desired)
	return d, errors.Join(d.addMeter(c.Config), d.addTraffic(c.Config), d.addRelay(listeners))
}

// view returns a View of the kernel, for one goroutine at a time. close closes it.
func (d *daemon) view(c desired.Config) *kernel.View {
	v := kernel.NewView(c.IPv6)
	d.views = append(d.views, v)
	return v
}

func (d *daemon) addStatus(c desired.Config) {
	d.status = status.NewPage(status.Config{
		Node: d.config.NodeName, Version: version, Desired: c, Board: d.board, Kernel: d.view(c), Last: d.proxier.Last, Backlog: d.proxier.Backlog,
		Unhealthy: d.health.Unhealthy, Ready: d.health.Ready, Log: d.log,
	})
}

// prepare sets up the node and drops the capabilities that the daemon does not need. It logs
// failures, and the daemon serves Services without these settings.
func (d *daemon) prepare() {
	score := int(*d.config.Proxy.OOMScoreAdj)
	done, err := node.Setup(node.Config{Sysctls: sysctls(d.config), OOMScoreAdj: &score})
	for _, text := range done.Changed {
		d.log.Info("set", "what", text)
	}
	for _, text := range done.Warnings {
		d.log.Warn("not set", "what", text)
	}
	if err != nil {
		d.log.Error("the node could not be set up as configured", "err", err)
	}
	kept, err := node.DropCapabilities()
	if err != nil {
		d.log.Warn("unneeded capabilities could not be dropped", "err", err)
	}
	d.log.Info("capabilities", "kept", strings.Join(kept, ","))
}

func (d *daemon) addMeter(c cluster.Config) error {
	return d.metrics.Register(metrics.NewProblems(d.problems), traffic.NewTablesCollector(d.view(c.Desired), c.Desired, c.Names, int(d.config.Own.TrafficMetricsTop), d.log))
}

func (d *daemon) addTraffic(c cluster.Config) error {
	if d.config.Own.TrafficMetrics == config.TrafficOff {
		return nil
	}
	r := &traffic.Reader{Counters: d.view(c.Desired), Names: c.Names, Endpoints: d.config.Own.TrafficMetrics == config.TrafficByEndpoint, Reduced: d.reduced}
	return d.metrics.Register(traffic.NewCollector(r, int(d.config.Own.TrafficMetricsTop), d.log))
}

// reduced returns the real servers whose desired weight is reduced, nil before the first round.
func (d *daemon) reduced() state.Reduced {
	if r := d.proxier.Last(); r != nil && r.Reduced != nil {
		return r.Reduced()
	}
	return nil
}

// close closes the sockets, after run has returned.
func (d *daemon) close() {
	_ = d.links.Close()
	for _, v := range d.views {
		_ = v.Close()
	}
	if d.origins != nil {
		_ = d.origins.Close()
	}
}

// observe hands a round to health, metrics, ports, the status page and the relay.
func (d *daemon) observe(r *report.Round) {
	d.health.Observe(r)
	d.metrics.Observe(r)
	d.ports.Observe(r)
	d.board.Observe(r)
	if d.relay != nil {
		d.relay.Observe(r)
	}
	if r.NotReady == "" && (r.Full || r.Audited) {
		settleMemory()
	}
	d.report()
	select {
	case d.rounds <- struct{}{}:
	default:
	}
}

// report hands the current problems to the writer of Events.
func (d *daemon) report() {
	if d.events != nil {
		d.events.Report(d.problems()...)
	}
}

// problems returns the current problems, in lists that callers must not change.
func (d *daemon) problems() [][]model.Problem {
	r := d.proxier.Last()
	if r == nil {
		return nil
	}
	return [][]model.Problem{r.Problems, d.ports.ListenProblems()}
}

// settleMemory returns the memory of the start or of an audit to the kernel, since reads and
// writes of all objects leave much garbage. Between them the process allocates little, so that
// more frequent collections cost almost nothing. GOGC and GOMEMLIMIT of the environment stay in
// force. Idempotent.
func settleMemory() {
	const percent = 30
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(percent)
	}
	time.AfterFunc(time.Second, debug.FreeOSMemory) // when the round is garbage
}

// addresses returns the node's addresses without VIPs and link-local ones, for health-check
// node ports.
func (d *daemon) addresses() ([]netip.Addr, error) {
	index, _, _, err := d.links.FindDummy(kernel.LinkName)
	if err != nil {
		return nil, err
	}
	all, err := d.links.Addresses()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range all {
		if ip := a.Prefix.Addr(); a.Link != index && !ip.IsLinkLocalUnicast() {
			out = append(out, ip)
		}
	}
	return out, nil
}

// tap is the sink of the loop that also hands events of this node's Node to health.
type tap struct {
	*proxier.Proxier
	health *health.Health
	node   string // its name
}

// Events is part of source.Sink.
func (t tap) Events(events []source.Event) {
	for _, e := range events {
		switch {
		case e.Node == nil || e.Node.Name != t.node:
		case e.Deleted:
			t.health.SetNode(nil)
		default:
			t.health.SetNode(e.Node)
		}
	}
	t.Proxier.Events(events)
}

// run runs all parts until ctx ends or one of them cannot go on.
func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	for what, part := range d.parts(cancel) {
		wg.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", what, err)
				cancel(nil)
			}
		})
	}
	d.proxier.Run(ctx)
	wg.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	var changed *configChanged
	if errors.As(context.Cause(ctx), &changed) {
		errs = append(errs, changed)
	} else if len(errs) == 0 {
		d.log.Info("stopped; the programmed objects stay")
	}
	return errors.Join(errs...)
}

// parts returns the goroutines of the daemon by what they do.
func (d *daemon) parts(end context.CancelCauseFunc) map[string]func(context.Context) error {
	c := d.config
	parts := map[string]func(context.Context) error{
		"follow the Services":                             func(ctx context.Context) error { return d.objects.Run(ctx, tap{d.proxier, d.health, c.NodeName}) },
		"watch the node's links, addresses and routes":    d.watchLinks,
		"watch the rules":                                 d.watchRules,
		"serve health":                                    func(ctx context.Context) error { return d.serve(ctx, c.HealthzAddress, d.health.Handler()) },
		"serve metrics":                                   func(ctx context.Context) error { return d.serve(ctx, c.MetricsAddress, d.pages()) },
		"serve health-check node ports":                   func(ctx context.Context) error { d.ports.Run(ctx); return nil },
		"audit on SIGHUP":                                 d.hangUps,
		"remove the rules of earlier runs and kube-proxy": d.succeed,
	}
	if c.File != "" {
		parts["watch the configuration file"] = func(ctx context.Context) error {
			config.Watch(ctx, c.File, c.Digest, func() { d.reconfigure(end) })
			return nil
		}
	}
	if d.events != nil {
		parts["write Events"] = func(ctx context.Context) error { d.events.Run(ctx); return nil }
	}
	if d.relay != nil {
		parts["relay node ports on loopback addresses"] = func(ctx context.Context) error { d.relay.Run(ctx); return nil }
	}
	return parts
}

func (d *daemon) watchLinks(ctx context.Context) error {
	return netutil.Watch(ctx, kernel.LinkName, func(c netutil.Changes) {
		if c.Facts {
			d.proxier.FactsChanged()
			d.ports.Refresh()
		}
		if suspects := kernel.Suspects(c); c.More || len(suspects) > 0 {
			d.proxier.Suspect(suspects, c.More)
		}
	})
}

// watchRules tells the loop of changes to the chains of kube-ipvs, with the nft variant of
// iptables.
func (d *daemon) watchRules(ctx context.Context) error {
	return netutil.WatchRules(ctx, kernel.RuleEvents(), d.proxier.RulesChanged)
}

// hangUps makes the loop read all facts and start an audit on each SIGHUP.
func (d *daemon) hangUps(ctx context.Context) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	defer signal.Stop(c)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c:
			d.log.Info("SIGHUP: full audit")
			d.proxier.Audit()
			d.ports.Refresh()
		}
	}
}

func (d *daemon) serve(ctx context.Context, addr netip.AddrPort, h http.Handler) error {
	text := ""
	if addr.IsValid() {
		text = addr.String()
	}
	return health.Serve(ctx, text, h, d.config.Proxy.BindAddressHardFail, d.log)
}

func (d *daemon) pages() http.Handler {
	return health.Pages{
		Version: version, Mode: "ipvs", Started: d.started, Metrics: d.metrics.Handler(d.log), Config: func() (any, any) { return d.flags.current.Load().Documents() },
		Flags: d.flags.set, Profiling: d.config.Proxy.EnableProfiling, Level: d.flags.level, More: d.status.Handlers(),
	}.Handler()
}
