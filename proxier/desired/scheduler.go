package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// maglev is the scheduler that hashes clients to endpoints by a table.
const maglev = "mh"

// schedulerFlags returns the flags of a scheduler: those that the Service chooses, if it
// has that scheduler.
func schedulerFlags(name string, chosen model.Scheduler) (flags uint32) {
	if !chosen.Chosen || chosen.Name != name {
		return state.SchedulerFlags(name)
	}
	if chosen.Fallback {
		flags |= state.FlagSchedFallback
	}
	if chosen.Port {
		flags |= state.FlagSchedPort
	}
	return flags
}

// schedulerOf returns the scheduler of a Service's virtual servers: that of its
// annotation if the kernel has it, else the default; if its endpoints may have different
// weights, the one that reads them.
func (c *Config) schedulerOf(s *model.Service) string {
	name := s.Balance.Scheduler.Name
	if name == "" || c.missing(name) != nil {
		name = c.Scheduler
	}
	if weighted, _ := state.WeightedScheduler(name); s.Balance.Weighted() && c.missing(weighted) == nil {
		return weighted
	}
	return name
}

// weighs returns why the weights of a Service's endpoints have no effect; "": they have.
func (c *Config) weighs(s *model.Service) string {
	weighted, ok := state.WeightedScheduler(c.schedulerOf(s))
	if err := c.missing(weighted); err != nil {
		return err.Error()
	}
	if !ok {
		return fmt.Sprintf("the scheduler %s does not read weights", weighted)
	}
	return ""
}

// ejects returns why dead endpoints of a Service cannot be ejected; "": they can.
func (c *Config) ejects(s *model.Service) string {
	name := c.schedulerOf(s)
	hashes := name == "sh" || name == "mh"
	switch {
	case !state.SchedulerDrains(name), hashes && schedulerFlags(name, s.Balance.Scheduler)&state.FlagSchedFallback == 0:
		return fmt.Sprintf("the scheduler %s refuses the connections of an endpoint with weight 0", name)
	case !slices.ContainsFunc(s.Ports, func(p model.Port) bool { return p.Protocol == corev1.ProtocolTCP }):
		return "the Service has no TCP port"
	}
	return ""
}

// missing returns why virtual servers cannot have a scheduler that a Service names; nil:
// they can. It never asks the kernel for an unknown name, since tenants may try any number.
func (c *Config) missing(scheduler string) error {
	switch {
	case !slices.Contains(state.Schedulers, scheduler):
		return fmt.Errorf("%.64q is no IPVS scheduler; those are %s", scheduler, strings.Join(state.Schedulers, ", "))
	case c.Missing != nil:
		return c.Missing(scheduler)
	}
	return nil
}

// EjectedReason is the reason of a real server without weight, since its endpoint is dead.
const EjectedReason = "ejected, since it does not answer"

// weights returns the weights of a virtual server's endpoints; nil: all are 1. given are those
// by the rules of the Service. ejected endpoints have none; nil: no endpoint is ejected.
func (r *render) weights(id state.ID, endpoints []netip.AddrPort, given []uint32) (weights []uint32, ejected []bool) {
	s, c := r.view.Service, r.config
	if !s.Balance.Weighted() && s.Balance.EjectAfter == 0 {
		return nil, nil // as most Services
	}
	weighs := c.weighs(s) == ""
	if !weighs {
		given = nil
	}
	if s.Balance.EjectAfter > 0 && c.Ejected != nil && id.Proto == state.TCP && c.ejects(s) == "" {
		ejected = c.Ejected(s, id, endpoints, given)
	}
	if ejected != nil {
		given = without(ejected, given)
	}
	if weighs && s.Balance.Weighted() && c.Rising != nil {
		given = c.Rising(s, r.scheduler, id, endpoints, given)
	}
	return given, ejected
}

// without returns weights with 0 for ejected endpoints; nil weights: all are 1.
func without(ejected []bool, weights []uint32) []uint32 {
	out := make([]uint32, len(ejected))
	for i := range out {
		switch {
		case ejected[i]:
		case weights == nil:
			out[i] = 1
		default:
			out[i] = weights[i]
		}
	}
	return out
}
