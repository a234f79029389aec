// Package cluster turns what a source says of the cluster, and what the node says of
// itself, into what is wanted in the kernel. It writes nothing.
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
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// Config is what a Cluster must be told. Desired and Large are needed.
type Config struct {
	Desired          desired.Config
	Zone             string       // of the node, for topology hints; empty: the Node object says it
	NodeCIDR         bool         // the source addresses of pods are the podCIDRs of the Node object
	PrimaryNodePorts bool         // node ports are served on the node's primary addresses, beside those of Desired
	NodeIPs          []netip.Addr // of the node, as the configuration says; they are primary before those of the Node object
	MostAddresses    int          // of a family that a start adds to kube-ipvs0; 0: as many as the kernel takes in good time
	Large            int          // a Service with more objects has a Part of its own
	Names            bool         // keep what Served and PodOf tell
}

// Kernel is the part of kernel.Kernel that rendering needs.
type Kernel interface {
	Facts(context.Context) (state.Facts, error)
	Expect(rules [2]string)
	ProbeScheduler(context.Context, string) error
}

// Cluster is what the cluster and the node say, and what that comes to. Only one goroutine
// may use it, but for Served and PodOf.
type Cluster struct {
	config     Config // its Desired as the node and its Node object make it of base
	kernel     Kernel
	log        *slog.Logger
	model      *model.Model
	table      *desired.Table // nil: the facts were never read
	loaded     bool           // the source has delivered what it could
	synced     bool           // the source has delivered everything: absence is a fact
	sources    []model.Problem
	base       desired.Config // as configured
	rebased    bool           // base is another, and nothing has been rendered by it
	bound      bool           // Bind has decided
	routes     bool           // and that ClusterIPs are routes alone
	node       nodeObject
	facts      state.Facts
	factsAt    time.Time        // when to read the facts again; zero: nothing hints at a change
	factsRead  time.Time        // when they were read
	schedulers map[string]error // what probing said of those of state.Schedulers that Services asked for
	tallies    *tallies
	names      *names
	triggers   triggers
}

// New returns a Cluster of which nothing is known.
func New(k Kernel, log *slog.Logger, c Config) *Cluster {
	out := &Cluster{
		config: c, kernel: k, log: log,
		model:      model.New(model.Node{Name: c.Desired.NodeName, Zone: c.Zone}),
		schedulers: map[string]error{}, tallies: newTallies(), names: newNames(c.Names), triggers: triggers{began: time.Now()},
	}
	out.config.Desired.Missing = func(name string) error { return out.schedulers[name] }
	out.model.Reserve(out.config.Desired.Reserved)
	out.base = out.config.Desired
	return out
}

// Take applies events of a source, among which are so many of Services and of slices.
func (c *Cluster) Take(events []source.Event, services, slices int) {
	c.model.Expect(services, slices)
	for _, e := range events {
		c.event(e)
	}
}

func (c *Cluster) event(e source.Event) {
	if e.Slice != nil {
		c.names.slice(e.Slice, e.Deleted)
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

// SetLoaded says that the source has delivered what it could, and whether that is
// everything. It does not forget what it was told before.
func (c *Cluster) SetLoaded(loaded, everything bool) {
	c.loaded, c.synced = c.loaded || loaded, c.synced || everything
}

// Loaded reports whether the source has delivered what it could.
func (c *Cluster) Loaded() bool { return c.loaded }

// Synced reports whether the source has delivered everything: absence is a fact.
func (c *Cluster) Synced() bool { return c.synced }

// SetProblems replaces what is wrong with the source itself.
func (c *Cluster) SetProblems(ps []model.Problem) { c.sources = ps }

// factsInterval is the least time between readings of the node's addresses.
// Each costs a list of all of them, and each pod that starts is a reason.
const factsInterval = 2 * time.Second

// FactsChanged says that the node's links, addresses or default routes may have changed.
func (c *Cluster) FactsChanged() {
	if c.factsAt.IsZero() {
		c.factsAt = c.factsRead.Add(factsInterval)
	}
}

// ReadFacts has Look read the node's facts.
func (c *Cluster) ReadFacts() { c.factsAt = time.Now() }

// Next returns when Look has something to read; zero: nothing hints at a change.
func (c *Cluster) Next() time.Time { return c.factsAt }

// Look reads the facts if it is time to, and follows them, the configuration and the Node
// object. anew says that everything must be rendered anew, by RenderAll. An error says that
// nothing can be rendered.
func (c *Cluster) Look(ctx context.Context) (anew bool, err error) {
	if c.table == nil || due(c.factsAt) {
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

// setFacts reports whether what has been rendered by other facts is to be rendered anew.
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

// sameFacts reports whether the two have the same rendered.
func sameFacts(a, b state.Facts) bool {
	return slices.Equal(a.NodeIPs, b.NodeIPs) && a.MTU == b.MTU && a.NoIPv6 == b.NoIPv6 && a.NoVIPv6 == b.NoVIPv6 && a.NoDevice == b.NoDevice
}

// Desired returns the configuration by which is rendered now. It stays where it is and must
// not be changed.
func (c *Cluster) Desired() *desired.Config { return &c.config.Desired }

// Facts returns what is known of the node.
func (c *Cluster) Facts() state.Facts { return c.facts }

// Model returns what the cluster says. It must not be changed.
func (c *Cluster) Model() *model.Model { return c.model }

// Table returns what is wanted; nil: the facts were never read. It must not be changed.
func (c *Cluster) Table() *desired.Table { return c.table }

// Tell puts on a board what is wrong with what was asked for.
func (c *Cluster) Tell(b *model.Board) {
	b.Take(c.model.Board())
	b.Replace("source", c.sources)
	b.Replace("node", c.node.problems(&c.config, c.facts))
	if c.table != nil {
		b.Take(c.table.Board())
	}
}

// due reports whether the moment at has come.
func due(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }
