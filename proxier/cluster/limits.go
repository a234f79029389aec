package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// limits has the virtual servers that refuse new clients, since each endpoint has as many
// connections as it may have, and a problem for each Service that has some.
type limits struct {
	full  map[state.ID]bool
	of    map[model.Key]map[state.ID]bool // full, by Service
	board model.Board
}

// Filled takes how full all virtual servers with limits of connections are.
func (c *Cluster) Filled(fills state.Fills) {
	l := c.model.limits
	full := fills.Full(l.full)
	if c.table == nil || maps.Equal(full, l.full) {
		return
	}
	of := map[model.Key]map[state.ID]bool{}
	for server := range full {
		if key, ok := c.table.Owner(server); ok {
			if of[key] == nil {
				of[key] = map[state.ID]bool{}
			}
			of[key][server] = true
		}
	}
	for key := range l.of {
		if of[key] == nil {
			l.forget(key)
		}
	}
	l.full, l.of = full, of
	c.tellFull(slices.Collect(maps.Keys(of)))
}

// tellFull updates the problems of those of some Services that have full virtual servers.
func (c *Cluster) tellFull(keys []model.Key) {
	for _, key := range keys {
		if servers := c.model.limits.of[key]; servers != nil {
			c.model.limits.board.Set(fullTopic(key), c.fullProblem(key, servers))
		}
	}
}

// forget forgets a Service that has gone, or that has no limit any more.
func (l *limits) forget(key model.Key) {
	for server := range l.of[key] {
		delete(l.full, server)
	}
	delete(l.of, key)
	l.board.Set(fullTopic(key), nil)
}

func fullTopic(key model.Key) model.Topic {
	return model.Topic{By: "limits", Kind: "Service", Key: key}
}

// mostNamed is the most frontends that a problem names.
const mostNamed = 3

// fullProblem returns the problem of a Service with full virtual servers; nil: it has left them.
func (c *Cluster) fullProblem(key model.Key, servers map[state.ID]bool) []model.Problem {
	s, ok := c.model.Service(key)
	if !ok || s.Balance.MaxConnections == 0 {
		return nil // the kernel will hear of it
	}
	var at []string
	more := ""
	for _, f := range c.table.Frontends(s) {
		if f.Lost != (model.Key{}) || !servers[f.Server] && !servers[f.LocalServer] {
			continue
		}
		if len(at) == mostNamed {
			more = " and others"
			break
		}
		at = append(at, f.String())
	}
	if len(at) == 0 {
		return nil
	}
	p := model.Problem{Object: "Service " + key.String(), Field: model.AnnotationField(model.MaxConnectionsAnnotation), Reason: model.EndpointsFull}
	p.Message = fmt.Sprintf("this node refuses new clients of %s%s: each endpoint has the %d connections that it may have there", strings.Join(at, ", "), more, s.Balance.MaxConnections)
	p.Origin, p.UID = c.model.Identity(key)
	return []model.Problem{p}
}
