package proxier

import (
	"slices"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// Events is part of source.Sink.
func (p *Proxier) Events(e []source.Event) {
	var c report.Changes
	for i := range e {
		switch {
		case e[i].Service != nil:
			c.Services++
		case e[i].Slice != nil:
			c.Slices++
		}
	}
	p.inbox.put(func(m *mail) {
		m.news.Events = append(m.news.Events, e...)
		m.news.Changes.Services += c.Services
		m.news.Changes.Slices += c.Slices
		if m.since.IsZero() && len(e) > 0 {
			m.since = time.Now()
		}
	})
}

// Loaded is part of source.Sink.
func (p *Proxier) Loaded() { p.inbox.put(func(m *mail) { m.news.Loaded = true }) }

// Synced is part of source.Sink.
func (p *Proxier) Synced() { p.inbox.put(func(m *mail) { m.news.Loaded, m.news.Synced = true, true }) }

// Problems is part of source.Sink.
func (p *Proxier) Problems(ps []model.Problem) {
	p.inbox.put(func(m *mail) { m.news.Problems = &ps })
}

// Configure makes the loop follow another configuration: the periods, PrimaryNodePorts and,
// in Desired, the scheduler, PodCIDRs, NodePortAddresses, MasqueradeAll, MaxFrontends,
// NoExternalIPs and timeouts. All other settings stay as New got them. Safe from any
// goroutine.
func (p *Proxier) Configure(c Config) { p.inbox.put(func(m *mail) { m.config = &c }) }

// FactsChanged says that the node's links, addresses or default routes may have
// changed. Safe from any goroutine.
func (p *Proxier) FactsChanged() { p.inbox.put(func(m *mail) { m.news.Facts = true }) }

// mostSuspects is the longest mail.suspects.
const mostSuspects = 64

// Suspect says that the kernel reported a deletion or change of objects, and of others with
// more. The loop ignores objects that it has deleted itself or does not know. Safe from any
// goroutine.
func (p *Proxier) Suspect(objects []state.ID, more bool) {
	p.inbox.put(func(m *mail) {
		m.more = m.more || more
		for _, id := range objects {
			if len(m.suspects) == mostSuspects {
				m.more = true
				return
			}
			if !slices.Contains(m.suspects, id) {
				m.suspects = append(m.suspects, id)
			}
		}
	})
}

// RulesChanged says that the rules of kube-ipvs have changed; the loop itself may have done
// it. Safe from any goroutine.
func (p *Proxier) RulesChanged() { p.inbox.put(func(m *mail) { m.rules = true }) }

// Audit makes the loop read all facts anew, retry failed writes, and start an audit, as soon
// as it has time. Safe from any goroutine.
func (p *Proxier) Audit() { p.inbox.put(func(m *mail) { m.audit = true }) }

var _ source.Sink = (*Proxier)(nil)
