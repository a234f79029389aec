package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/state"
)

// facts are the facts of the node, and when to read them.
type facts struct {
	now  state.Facts
	read time.Time // when; zero: never
	next time.Time // when to read them again; zero: no need
}

// factsInterval is the least time between reads of the node's addresses. Each read lists all
// addresses, and each pod that starts causes one.
const factsInterval = 2 * time.Second

// FactsChanged says that the node's links, addresses or default routes may have changed.
func (c *Cluster) FactsChanged() {
	if f := &c.facts; f.next.IsZero() {
		f.next = f.read.Add(factsInterval)
	}
}

// ReadFacts makes the next Look read the node's facts.
func (c *Cluster) ReadFacts() { c.facts.next = time.Now() }

// Next returns when Look has to read the facts, or the weights of new endpoints have to rise;
// zero: never.
func (c *Cluster) Next() time.Time { return pace.Earliest(c.facts.next, c.model.starts.Next()) }

// Look reads the facts if they are due, and applies them, the configuration and the Node
// object, and raises the weights of new endpoints. anew says that the caller must render everything, in a full round. After an error
// nothing can be rendered.
func (c *Cluster) Look(ctx context.Context) (anew bool, err error) {
	if c.table == nil || pace.Due(c.facts.next) {
		facts, err := c.kernel.Facts(ctx)
		switch {
		case err != nil && c.table == nil:
			return false, fmt.Errorf("read the node's addresses: %w", err)
		case err != nil:
			c.facts.next = time.Now().Add(factsInterval)
			c.log.Warn("the node's addresses cannot be read: the last known ones stay in use", "err", err)
		default:
			c.facts.next, c.facts.read = time.Time{}, time.Now()
			anew = c.setFacts(facts)
		}
	}
	anew = c.follow() || anew
	if anew {
		c.model.SetAllDirty()
	}
	for _, key := range c.model.starts.Rise(func(server state.ID) ([]state.Load, error) { return c.kernel.Loads(ctx, server) }) {
		c.model.SetDirty(key)
	}
	return anew, nil
}

// setFacts reports whether the rendered objects depend on facts that have changed.
func (c *Cluster) setFacts(facts state.Facts) (anew bool) {
	switch {
	case c.table == nil:
		c.table = desired.NewTable(c.settings.now, facts)
		c.expect()
	case !sameFacts(c.facts.now, facts):
		c.table.SetFacts(facts)
		anew = true
	}
	c.facts.now = facts
	return anew
}

// sameFacts reports whether rendering is the same with both.
func sameFacts(a, b state.Facts) bool {
	return slices.Equal(a.NodeIPs, b.NodeIPs) && a.MTU == b.MTU && a.NoIPv6 == b.NoIPv6 && a.NoVIPv6 == b.NoVIPv6 && a.NoDevice == b.NoDevice
}
