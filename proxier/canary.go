package proxier

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"kube-ipvs/proxier/state"
)

// canary is a look at the rules, beside the loop.
type canary struct {
	rules *state.State
	err   error
}

// watch looks now and then whether what everything rests on is still there, and
// has an audit begin if not. A reload of firewalld flushes all rules, ipvsadm -C all
// virtual servers. It is no audit: who changes one object is not noticed.
func (p *Proxier) watch(ctx context.Context, seen *canary) {
	missing := false
	if seen != nil && seen == p.canary {
		p.canary = nil
		missing = seen.err != nil || !p.ruled(seen.rules)
	}
	if due(p.canaryAt) {
		p.canaryAt = time.Time{} // schedule sets it when this look is over
		missing = !p.intact(ctx) || !p.readRules(ctx)
	}
	if missing { // or it could not be read, of which the audit tells
		p.log.Info("something is missing in the kernel: it is compared")
		p.beginAudit(ctx)
	}
}

// intact looks at what is cheap to see.
func (p *Proxier) intact(ctx context.Context) bool {
	servers := p.someServers()
	sizes, err := p.kernel.Sizes(ctx, servers)
	return err == nil && sizes.Servers == len(servers) && sizes.Entries == p.objects[state.Entry]
}

// readRules has a goroutine read them: it takes a process a family. It returns
// false if that is not possible.
func (p *Proxier) readRules(ctx context.Context) bool {
	reader, err := p.kernel.Reader(ctx)
	if err != nil {
		return false
	}
	c := &canary{rules: &state.State{}}
	p.canary = c
	p.readers.Go(func() {
		note := func(id state.ID, spec state.SpecRef) { c.rules.Put(id, spec) }
		c.err = errors.Join(reader.EachRule(ctx, note), reader.Close())
		p.inbox.put(func(m *mail) { m.canary = c })
	})
	return true
}

// ruled reports whether rules are what the loop takes them to be. Those that it
// has written meanwhile may not: then an audit comes for nothing.
func (p *Proxier) ruled(have *state.State) bool {
	for _, id := range []state.ID{state.RulesID(state.IPv4), state.RulesID(state.IPv6)} {
		a, want := p.actual.Get(id)
		b, is := have.Get(id)
		if want != is || want && !a.Equal(b) {
			return false
		}
	}
	return true
}

// someServers returns a virtual server of each family that has any.
func (p *Proxier) someServers() []state.ID {
	some := map[bool]state.ID{} // by whether it is IPv6
	for id := range p.actual.All() {
		if id.Kind == state.VirtualServer {
			some[id.Addr().Is6()] = id
		}
		if len(some) == 2 {
			break
		}
	}
	return slices.Collect(maps.Values(some))
}
