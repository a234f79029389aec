// Package cluster turns the events of a source and the facts of the node into the desired
// objects of the kernel. It writes nothing.
package cluster

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/balance"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// Config configures a Cluster. Desired and Large are required.
type Config struct {
	Desired          desired.Config
	Zone             string       // the node's zone, for topology hints; empty: the Node object has it
	NodeCIDR         bool         // pods have the podCIDRs of the Node object
	PrimaryNodePorts bool         // the node's primary addresses serve node ports too, beside those of Desired
	NodeIPs          []netip.Addr // configured addresses of the node; they come before those of the Node object
	MostAddresses    int          // addresses of a family that a start may add to kube-ipvs0; 0: mostAddresses
	Large            int          // a Service with more objects has a Part of its own
	Ejects           Ejects       // decides which endpoints are dead; nil: none is
	Names            *Names       // gets the names of what is rendered; nil: none are kept
}

// Kernel is the part of kernel.Kernel that rendering needs.
type Kernel interface {
	Facts(context.Context) (state.Facts, error)
	Expect(rules [2]string)
	ProbeScheduler(context.Context, string) error
	Loads(ctx context.Context, server state.ID) ([]state.Load, error)
}

// Ejects decides which endpoints are dead, as eject.Watch does.
type Ejects interface {
	Renders(key model.Key, after time.Duration)
	Ejected(s *model.Service, server state.ID, endpoints []netip.AddrPort, weights []uint32) []bool
	Tell(b *model.Board, identity func(model.Key) (origin, uid string))
}

// Cluster has the state of the cluster and the node, and the desired objects. Only one
// goroutine may use it.
type Cluster struct {
	kernel     Kernel
	log        *slog.Logger
	source     delivery
	settings   settings
	facts      facts
	schedulers map[string]error // results of the probes of state.Schedulers that Services name
	model      tallying
	table      *desired.Table // nil: the facts were never read
	triggers   triggers
}

// New returns an empty Cluster.
func New(k Kernel, log *slog.Logger, c Config) *Cluster {
	m := model.New(model.Node{Name: c.Desired.NodeName, Zone: c.Zone})
	out := &Cluster{kernel: k, log: log, schedulers: map[string]error{}, model: tallying{m, newTallies(), balance.New(c.Desired.NodeName), c.Ejects, &limits{}}, triggers: triggers{began: time.Now()}}
	c.Desired.Missing = func(name string) error { return out.schedulers[name] }
	c.Desired.Rising = out.model.weights
	if c.Ejects != nil {
		c.Desired.Ejected = out.model.ejected
	}
	out.settings = settings{Config: c, now: c.Desired}
	m.Reserve(out.settings.now.Reserved)
	return out
}

// News is what a Cluster learns.
type News struct {
	Events   []source.Event
	Backlog  report.Backlog   // counts Events
	Problems *[]model.Problem // of the source itself; nil: unchanged
	Loaded   bool             // the source has delivered all that it can read
	Synced   bool             // the source has delivered everything: a missing object does not exist
	Ejects   []model.Key      // Services whose dead endpoints have changed
	Facts    bool             // the node's links, addresses or default routes may have changed
}

// Add adds events of a source.
func (n *News) Add(events []source.Event) {
	n.Events = append(n.Events, events...)
	add := report.Backlog{Since: time.Now()}
	for i := range events {
		switch {
		case events[i].Service != nil:
			add.Services++
		case events[i].Slice != nil:
			add.Slices++
		}
	}
	if len(events) > 0 {
		n.Backlog = n.Backlog.Plus(add)
	}
}

// delivery is the progress of the source.
type delivery struct {
	loaded, synced bool            // as News has them; once true, they stay
	problems       []model.Problem // of the source itself
}

// Take applies news.
func (c *Cluster) Take(n News) {
	c.model.Expect(n.Backlog.Services, n.Backlog.Slices)
	for _, e := range n.Events {
		c.event(e)
	}
	if n.Problems != nil {
		c.source.problems = *n.Problems
	}
	c.source.loaded, c.source.synced = c.source.loaded || n.Loaded, c.source.synced || n.Synced
	for _, key := range n.Ejects {
		c.model.SetDirty(key)
	}
	if n.Facts {
		c.FactsChanged()
	}
}

func (c *Cluster) event(e source.Event) {
	if e.Slice != nil {
		c.settings.Names.slice(e.Slice, e.Deleted)
	}
	switch {
	case e.Service != nil && e.Deleted:
		c.model.DeleteService(model.Key{Namespace: e.Service.Namespace, Name: e.Service.Name})
	case e.Service != nil:
		c.model.ApplyService(e.Service, e.Origin)
	case e.Slice != nil && e.Deleted:
		c.model.DeleteSlice(e.Slice.Namespace, e.Slice.Name)
	case e.Slice != nil:
		c.model.ApplySlice(e.Slice, e.Origin)
		c.triggers.note(e.Slice)
	case e.Node != nil && e.Node.Name == c.settings.now.NodeName && !e.Deleted:
		c.model.SetNode(model.Node{Name: e.Node.Name, Zone: cmp.Or(c.settings.Zone, e.Node.Labels[corev1.LabelTopologyZone])})
		c.settings.node.read(e.Node, &c.settings.Config)
	}
}

// Loaded reports whether the source has delivered all that it can read.
func (c *Cluster) Loaded() bool { return c.source.loaded }

// Synced reports whether the source has delivered everything: a missing object does not exist.
func (c *Cluster) Synced() bool { return c.source.synced }

// Desired returns the current configuration of rendering. The pointer stays valid for life,
// and callers must not change its target.
func (c *Cluster) Desired() *desired.Config { return &c.settings.now }

// Facts returns the last facts of the node.
func (c *Cluster) Facts() state.Facts { return c.facts.now }

// Model returns the Services and endpoints of the cluster. Callers must not change it.
func (c *Cluster) Model() *model.Model { return c.model.Model }

// Table returns the desired objects, or nil before the first read of the facts. Callers must
// not change it.
func (c *Cluster) Table() *desired.Table { return c.table }

// Tell puts the problems of Services, endpoints, the Node and the source on a board.
func (c *Cluster) Tell(b *model.Board) {
	b.Take(c.model.Board())
	b.Replace("source", c.source.problems)
	b.Replace("node", c.settings.node.problems(&c.settings.Config, c.facts.now))
	if c.settings.Ejects != nil {
		c.settings.Ejects.Tell(b, c.model.Identity)
	}
	b.Take(&c.model.limits.board)
	if c.table != nil {
		b.Take(c.table.Board())
	}
}
