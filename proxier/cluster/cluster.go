// Package cluster turns the events of a source and the facts of the node into the desired
// objects of the kernel. It writes nothing.
package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
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
	Names            *Names       // gets the names of what is rendered; nil: none are kept
}

// Kernel is the part of kernel.Kernel that rendering needs.
type Kernel interface {
	Facts(context.Context) (state.Facts, error)
	Expect(rules [2]string)
	ProbeScheduler(context.Context, string) error
}

// Cluster has the state of the cluster and the node, and the desired objects. Only one
// goroutine may use it.
type Cluster struct {
	config     Config // its Desired is base, completed by the facts and the Node object
	kernel     Kernel
	log        *slog.Logger
	model      *model.Model
	table      *desired.Table // nil: the facts were never read
	loaded     bool           // the source has delivered all that it can read
	synced     bool           // the source has delivered everything: a missing object does not exist
	sources    []model.Problem
	base       desired.Config // the configured one
	rebased    bool           // base has changed since the last rendering
	bound      bool           // Bind has decided
	routes     bool           // Bind has decided for routes alone
	node       nodeObject
	facts      state.Facts
	factsAt    time.Time        // when to read the facts again; zero: no need
	factsRead  time.Time        // the last read of the facts
	schedulers map[string]error // results of the probes of state.Schedulers that Services name
	tallies    *tallies
	triggers   triggers
}

// New returns an empty Cluster.
func New(k Kernel, log *slog.Logger, c Config) *Cluster {
	out := &Cluster{
		config: c, kernel: k, log: log,
		model:      model.New(model.Node{Name: c.Desired.NodeName, Zone: c.Zone}),
		schedulers: map[string]error{}, tallies: newTallies(), triggers: triggers{began: time.Now()},
	}
	out.config.Desired.Missing = func(name string) error { return out.schedulers[name] }
	out.model.Reserve(out.config.Desired.Reserved)
	out.base = out.config.Desired
	return out
}

// Take applies events of a source. services and slices count the events of each kind.
func (c *Cluster) Take(events []source.Event, services, slices int) {
	c.model.Expect(services, slices)
	for _, e := range events {
		c.event(e)
	}
}

func (c *Cluster) event(e source.Event) {
	if e.Slice != nil {
		c.config.Names.slice(e.Slice, e.Deleted)
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
	case e.Node != nil && e.Node.Name == c.config.Desired.NodeName && !e.Deleted:
		c.model.SetNode(model.Node{Name: e.Node.Name, Zone: cmp.Or(c.config.Zone, e.Node.Labels[corev1.LabelTopologyZone])})
		c.node.read(e.Node, &c.config)
	}
}

// SetLoaded says that the source has delivered all that it can read, and whether this is
// everything. A false value changes nothing.
func (c *Cluster) SetLoaded(loaded, everything bool) {
	c.loaded, c.synced = c.loaded || loaded, c.synced || everything
}

// Loaded reports whether the source has delivered all that it can read.
func (c *Cluster) Loaded() bool { return c.loaded }

// Synced reports whether the source has delivered everything: a missing object does not exist.
func (c *Cluster) Synced() bool { return c.synced }

// SetProblems replaces the problems of the source itself.
func (c *Cluster) SetProblems(ps []model.Problem) { c.sources = ps }

// factsInterval is the least time between reads of the node's addresses. Each read lists all
// addresses, and each pod that starts causes one.
const factsInterval = 2 * time.Second

// FactsChanged says that the node's links, addresses or default routes may have changed.
func (c *Cluster) FactsChanged() {
	if c.factsAt.IsZero() {
		c.factsAt = c.factsRead.Add(factsInterval)
	}
}

// ReadFacts makes the next Look read the node's facts.
func (c *Cluster) ReadFacts() { c.factsAt = time.Now() }

// Next returns when Look has to read the facts; zero: never.
func (c *Cluster) Next() time.Time { return c.factsAt }

// Look reads the facts if they are due, and applies them, the configuration and the Node
// object. anew says that the caller must render everything, by RenderAll. After an error
// nothing can be rendered.
func (c *Cluster) Look(ctx context.Context) (anew bool, err error) {
	if c.table == nil || pace.Due(c.factsAt) {
		facts, err := c.kernel.Facts(ctx)
		switch {
		case err != nil && c.table == nil:
			return false, fmt.Errorf("read the node's addresses: %w", err)
		case err != nil:
			c.factsAt = time.Now().Add(factsInterval)
			c.log.Warn("the node's addresses cannot be read: the last known ones stay in use", "err", err)
		default:
			c.factsAt, c.factsRead = time.Time{}, time.Now()
			anew = c.setFacts(facts)
		}
	}
	anew = c.follow() || anew
	if anew {
		c.model.SetAllDirty()
	}
	return anew, nil
}

// setFacts reports whether the rendered objects depend on facts that have changed.
func (c *Cluster) setFacts(facts state.Facts) (anew bool) {
	switch {
	case c.table == nil:
		c.table = desired.NewTable(c.config.Desired, facts)
		c.expect()
	case !sameFacts(c.facts, facts):
		c.table.SetFacts(facts)
		anew = true
	}
	c.facts = facts
	return anew
}

// sameFacts reports whether rendering is the same with both.
func sameFacts(a, b state.Facts) bool {
	return slices.Equal(a.NodeIPs, b.NodeIPs) && a.MTU == b.MTU && a.NoIPv6 == b.NoIPv6 && a.NoVIPv6 == b.NoVIPv6 && a.NoDevice == b.NoDevice
}

// Desired returns the current configuration of rendering. The pointer stays valid for life,
// and callers must not change its target.
func (c *Cluster) Desired() *desired.Config { return &c.config.Desired }

// Facts returns the last facts of the node.
func (c *Cluster) Facts() state.Facts { return c.facts }

// Model returns the Services and endpoints of the cluster. Callers must not change it.
func (c *Cluster) Model() *model.Model { return c.model }

// Table returns the desired objects, or nil before the first read of the facts. Callers must
// not change it.
func (c *Cluster) Table() *desired.Table { return c.table }

// Tell puts the problems of Services, endpoints, the Node and the source on a board.
func (c *Cluster) Tell(b *model.Board) {
	b.Take(c.model.Board())
	b.Replace("source", c.sources)
	b.Replace("node", c.node.problems(&c.config, c.facts))
	if c.table != nil {
		b.Take(c.table.Board())
	}
}
