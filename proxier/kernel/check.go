package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/proxier/state"
)

// Check finds out, before anything is written, whether the kernel can do what
// will be asked of it. It leaves nothing behind and writes nothing where an
// earlier run has left its rules: they are the proof.
func (l *Linux) Check(ctx context.Context, scheduler string) error {
	have, err := l.Read(ctx)
	if err != nil {
		return err
	}
	for _, p := range l.options.Images {
		users, err := l.links.Users(p)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fmt.Errorf("the image prefix %s is in use on this node (%s): choose another by --image-prefix and its siblings", p, strings.Join(users, ", "))
		}
	}
	proved := false
	for id, spec := range have.All() {
		proved = proved || id.Kind == state.VirtualServer && spec.Value().Scheduler == scheduler
	}
	if !proved {
		if err := l.ProbeScheduler(ctx, scheduler); err != nil {
			names, _ := l.ipvs.Schedulers(state.Schedulers)
			return fmt.Errorf("%w; this kernel has: %s", err, strings.Join(names, ", "))
		}
	}
	if have.Has(state.RulesID(state.IPv4)) {
		return nil
	}
	return l.probeRules(ctx)
}

// probe is a rule of a kind that ours are made of, and the module it needs.
type probe struct{ table, rule, needs string }

var probes = []probe{
	{"nat", "-j NETMAP --to 240.0.0.0/5", "xt_NETMAP"},
	{"nat", "-j DNAT --to-destination 252.0.0.1", "xt_nat"},
	{"nat", "-j ACCEPT -m set --match-set " + probeSet + " dst,dst", "xt_set"},
	{"nat", "-j ACCEPT -m addrtype --dst-type LOCAL", "xt_addrtype"},
	{"nat", "-j MARK --set-xmark 0x4000/0x4000", "xt_mark"},
	{"mangle", "-m conntrack --ctstatus CONFIRMED -j RETURN", "xt_conntrack"},
	{"filter", "-p tcp -j REJECT --reject-with tcp-reset", "ipt_REJECT"},
}

const probeSet = state.Prefix4 + "PROBE"

// probeRules tries all set types and all kinds of rules in scratch sets and
// chains. Only if that fails are they tried one by one, to name what is missing.
func (l *Linux) probeRules(ctx context.Context) (err error) {
	var errs []error
	for _, t := range state.SetTypes {
		errs = append(errs, l.ipset.Probe(ipset.Type(t), unix.AF_INET))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := l.ipset.Create(ipset.Set{Name: probeSet, Type: ipset.HashIPPort, Family: unix.AF_INET}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.ipset.Destroy(probeSet)) }()
	if l.try(ctx, probes...) == nil {
		return nil
	}
	if err := l.try(ctx); err != nil { // not even empty chains
		return fmt.Errorf("iptables (%s) does not work on this node: %w", l.backend, err)
	}
	for _, p := range probes {
		if err := l.try(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("the kernel or iptables cannot do %q: load the module %s or install the package that carries it: %w", p.rule, p.needs, err))
		}
	}
	return errors.Join(errs...)
}

// try puts rules into scratch chains and removes them again.
func (l *Linux) try(ctx context.Context, rules ...probe) error {
	const chain = state.Prefix4 + "PROBE"
	var add, remove strings.Builder
	for _, table := range []string{"mangle", "nat", "filter"} {
		fmt.Fprintf(&add, "*%s\n:%s - [0:0]\n", table, chain)
		for _, r := range rules {
			if r.table == table {
				fmt.Fprintf(&add, "-A %s %s\n", chain, r.rule)
			}
		}
		add.WriteString("COMMIT\n")
		fmt.Fprintf(&remove, "*%[1]s\n:%[2]s - [0:0]\n-X %[2]s\nCOMMIT\n", table, chain)
	}
	failed := l.backend.Restore(l.counted(ctx), 4, add.String())
	return errors.Join(failed, l.backend.Restore(l.counted(ctx), 4, remove.String()))
}
