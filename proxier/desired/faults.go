package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kube-ipvs/proxier/model"
)

// faults are the parts of one Service that cannot be rendered as asked for, by field and
// cause: a thousand frontends that another Service has make one problem.
type faults []fault

// fault is one cause, and the first frontends or addresses that have it.
type fault struct {
	field, cause string
	first        []string
	count        int
}

// named is the most frontends or addresses that a problem names.
const named = 3

// add counts what, a part of a field, for a cause. There are few causes.
func (fs *faults) add(field, what, cause string) {
	at := slices.IndexFunc(*fs, func(f fault) bool { return f.field == field && f.cause == cause })
	if at < 0 {
		at = len(*fs)
		*fs = append(*fs, fault{field: field, cause: cause})
	}
	f := &(*fs)[at]
	if f.count++; f.count <= named {
		f.first = append(f.first, what)
	}
}

// problems returns one problem for each field and cause.
func (fs faults) problems(v model.View) (out []model.Problem) {
	for _, f := range fs {
		text := strings.Join(f.first, ", ")
		switch more := f.count - len(f.first); {
		case more > 0:
			text += fmt.Sprintf(" and %d more are ", more)
		case f.count > 1:
			text += " are "
		case text != "":
			text += " is "
		}
		out = append(out, model.Problem{UID: v.UID, Origin: v.Origin, Object: "Service " + v.Key.String(), Field: f.field, Message: text + f.cause})
	}
	return out
}

func topic(key model.Key) model.Topic { return model.Topic{By: "desired", Kind: "Service", Key: key} }

// faults adds the faults of a Service that do not depend on other Services.
func (t *Table) faults(s *service, v model.View, fs *frontends, wrong *faults) {
	c := &t.config
	delete(t.guard.barred, s)
	for _, a := range v.ClusterIPs {
		if why := t.barred(v.Key, a); why != "" {
			t.guard.barred[s] = true
			wrong.add("spec.clusterIPs", a.String(), "left out: it is "+why)
		}
	}
	t.schedulerFaults(v, wrong)
	for _, at := range [...]struct {
		field string
		addrs []netip.Addr
	}{
		{"spec.clusterIPs", v.ClusterIPs}, {"spec.externalIPs", v.ExternalIPs}, {"status.loadBalancer.ingress", v.LoadBalancerIPs},
	} {
		for _, a := range at.addrs {
			if c.Reserved(a) != "" {
				wrong.add(at.field, a.String(), fmt.Sprintf("left out: it lies in %s of this node, whose addresses are for kube-ipvs alone", c.Overlap(netip.PrefixFrom(a, a.BitLen()))))
			}
		}
	}
	if fs.overSourced > 0 {
		wrong.add("spec.loadBalancerSourceRanges", "", fmt.Sprintf("%d load-balancer frontends (address, port and protocol) are left out: "+
			"each counts as one and one more for each range, and there are more than --max-service-frontends, %d", fs.overSourced, c.MaxFrontends))
	}
	if fs.over > 0 {
		wrong.add("spec", "", fmt.Sprintf("%d frontends (address, port and protocol) are left out: more than --max-service-frontends, %d; "+
			"external IPs are left out first, then load-balancer IPs, then node ports", fs.over, c.MaxFrontends))
	}
}

// schedulerFaults adds what keeps a Service from the scheduler that it asks for.
func (t *Table) schedulerFaults(v model.View, wrong *faults) {
	c, asked := &t.config, v.Balance.Scheduler.Name
	if asked != "" {
		if err := c.missing(asked); err != nil {
			wrong.add(model.AnnotationField(model.SchedulerAnnotation), "", fmt.Sprintf("%v; the default %q is used", err, c.Scheduler))
		}
	}
	if v.Balance.EjectAfter > 0 {
		if why := c.ejects(v.Service); why != "" {
			wrong.add(model.AnnotationField(model.EjectAfterAnnotation), "", "without effect: "+why)
		}
	}
	if !v.Balance.Weighted() {
		return
	}
	field := model.AnnotationField(model.WeightsAnnotation)
	if len(v.Balance.Weights) == 0 {
		field = model.AnnotationField(model.SlowStartAnnotation)
	}
	if why := c.weighs(v.Service); why != "" {
		wrong.add(field, "", "without effect: "+why)
	}
}
