package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Needs has the features of the kernel that a configuration needs.
type Needs struct {
	Scheduler string
	Rules     [2]string // IPv4 and IPv6, as for Expect
	Device    bool      // VIPs become addresses of kube-ipvs0
	OnlyIPv6  bool      // pods have no IPv4
}

// Check tries, before the first write, whether the kernel has the features that n needs; by
// that a kernel loads its modules. It leaves no object behind. It does not try the rules of
// a family if the variant of iptables in use holds just these, which proves that they work.
//
// The error names all missing features without which kube-ipvs cannot run, with one remedy;
// lacks names the others. If a feature of IPv6 is missing, and IPv6 is not the node's primary
// family, this Linux serves IPv4 only from then on.
func (l *Linux) Check(ctx context.Context, n Needs) (lacks []error, err error) {
	var missing netutil.MissingModules
	if netutil.Older(4, 18) {
		l.proof.noOwn.Store(true)
		lacks = append(lacks, errTooOld)
	}
	have, err := l.readExpecting(ctx, n.Rules)
	if err != nil {
		return nil, err
	}
	if err := l.checkImages(); err != nil {
		return nil, err
	}
	if err := missing.Add(l.checkIPVS(ctx, have, n.Scheduler)); err != nil {
		return nil, err
	}
	if err := missing.Add(l.checkFamily(ctx, state.IPv4, n)); err != nil {
		return nil, err
	}
	without6, err := l.checkIPv6(ctx, have, n, &missing)
	if err != nil {
		return nil, err
	}
	if missing.Err != nil {
		_ = missing.Add(without6)
		return nil, &missing
	}
	if without6 != nil {
		l.options.IPv6 = false
		lacks = append(lacks, fmt.Errorf("Services are served over IPv4 alone: %w", without6)) //nolint:staticcheck // Services is the name of a kind
	}
	more, err := l.checkOptional(n, n.Device && !have.Has(state.LinkID()))
	return append(lacks, more...), err
}

// readExpecting reads with these rules expected, so that rules that cannot be read do not
// keep Check from trying them.
func (l *Linux) readExpecting(ctx context.Context, rules [2]string) (*state.State, error) {
	was := l.expected
	l.Expect(rules)
	defer l.Expect(was)
	return l.Read(ctx)
}

// checkIPv6 is checkFamily of IPv6. It returns what the kernel lacks as without6 if the node
// can do without IPv6, and else adds it to missing. An ip6tables that fails for another reason
// does not take IPv4 from the node, nor IPv6 if an earlier run has programmed it: the loop
// tries again.
func (l *Linux) checkIPv6(ctx context.Context, have *state.State, n Needs, missing *netutil.MissingModules) (without6, err error) {
	facts, err := l.Facts(ctx)
	if err != nil {
		return nil, err
	}
	primary := n.OnlyIPv6 || primaryIPv6(l.options.NodeIPs, facts.NodeIPs)
	switch {
	case primary && (!l.options.IPv6 || facts.NoIPv6):
		return nil, errIPv6Off
	case !l.options.IPv6:
		return nil, nil
	}
	lack := l.checkFamily(ctx, state.IPv6, n)
	if saidNo(lack) { // such as for lack of memory
		lack = l.checkFamily(ctx, state.IPv6, n)
	}
	switch {
	case lack == nil, saidNo(lack) && !refused(lack) && have.Has(state.SetID(state.SetVIPs, state.IPv6)):
		return nil, nil
	case !primary && (refused(lack) || saidNo(lack)):
		return lack, nil
	}
	return nil, missing.Add(lack)
}

// primaryIPv6 reports whether IPv6 is the node's primary family: that of the first configured
// address or, without one, the only family in which the node has an address.
func primaryIPv6(configured, found []netip.Addr) bool {
	if len(configured) > 0 {
		return configured[0].Is6()
	}
	return len(found) > 0 && !slices.ContainsFunc(found, netip.Addr.Is4)
}

// checkFamily tries what the rules of a family need, and IPVS of IPv6.
func (l *Linux) checkFamily(ctx context.Context, family state.Family, n Needs) error {
	rules := n.Rules[family]
	want, _, err := l.parse(family, rules)
	if err != nil {
		return err
	}
	if have, ok := l.fresh[family]; ok && rules != "" && netutil.Equal(have, want) {
		return nil
	}
	if family == state.IPv6 {
		if err := l.ipvs.ProbeIPv6(n.Scheduler); err != nil {
			return err
		}
	}
	return l.checkRules(ctx, family, rules)
}

var (
	errIPv6Off   = errors.New("IPv6 is switched off on this node (net.ipv6.conf.all.disable_ipv6, or ipv6.disable=1), and is its primary family by --node-ip, --bind-address, --cluster-cidr or its addresses")
	errTooOld    = errors.New("Linux before 4.18 is not supported: chains of type nat hide each other's rules, so that kube-ipvs does without its nftables table, and DNAT of other programs may take ports of ClusterIPs")
	errNoDummies = errors.New("the kernel has no dummy devices, so that ClusterIPs are routes only: " + netutil.Lacks("dummy"))
	errNoFlows   = errors.New("UDP flows stay with removed endpoints, since conntrack cannot be read: " + netutil.Lacks("nf_conntrack_netlink"))
)

// checkOptional tries features that kube-ipvs can do without. device: kube-ipvs0 must be made.
func (l *Linux) checkOptional(n Needs, device bool) (lacks []error, err error) {
	for _, family := range l.families() {
		err := l.checkOwn(family, n.Rules[family])
		if err != nil && !errors.Is(err, netutil.ErrNoNFTables) {
			return nil, err
		}
		if err != nil {
			lacks = append(lacks, fmt.Errorf("DNAT of other programs may take ports of ClusterIPs: %w", err))
		}
	}
	flows, err := netutil.HasConntrack()
	if err != nil {
		return nil, err
	}
	if !flows {
		lacks = append(lacks, errNoFlows)
	}
	if !device {
		return lacks, nil
	}
	dummies, err := l.links.HasDummies()
	if err == nil && !dummies {
		l.noDummy, lacks = true, append(lacks, errNoDummies)
	}
	return lacks, err
}

// refused reports whether the kernel lacks a feature for good, or a tool is missing: a start
// that only came at a bad moment has other errors.
func refused(err error) bool {
	var missing *netutil.MissingModules
	return errors.As(err, &missing) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, netutil.ErrAbsent)
}

// saidNo reports whether a tool of iptables ended by itself and refused: it did not hang,
// was not killed, and did not wait for another program. That may be for lack of memory, too.
func saidNo(err error) bool {
	var ended *exec.ExitError
	return errors.As(err, &ended) && ended.Exited() && !errors.Is(err, netutil.ErrBusy)
}

// HasIPv6 reports whether this Linux serves IPv6 too.
func (l *Linux) HasIPv6() bool { return l.options.IPv6 }

func (l *Linux) checkImages() error {
	for _, p := range l.options.Images {
		users, err := l.links.Users(p)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fmt.Errorf("the image prefix %s is in use on this node (%s): choose another by --image-prefix and its siblings", p, strings.Join(users, ", "))
		}
	}
	return nil
}

func (l *Linux) checkIPVS(ctx context.Context, have *state.State, scheduler string) error {
	if _, err := netutil.ReadSysctl(state.VSConntrack.Path()); errors.Is(err, fs.ErrNotExist) {
		return errors.New("IPVS of this kernel does not use conntrack: install a kernel that is built with CONFIG_IP_VS_NFCT")
	}
	for id, spec := range have.All() {
		if id.Kind == state.VirtualServer && spec.Value().Scheduler == scheduler {
			return nil
		}
	}
	err := l.ProbeScheduler(ctx, scheduler)
	var missing *netutil.MissingModules
	if errors.As(err, &missing) {
		names, _ := l.ipvs.Schedulers(state.Schedulers)
		missing.Err = fmt.Errorf("%w (this kernel has: %s)", missing.Err, strings.Join(names, ", "))
	}
	return err
}

// checkRules tries the parts of nftables, all set types, and all extensions of iptables in
// rules. The error is a netutil.MissingModules of all that the kernel lacks.
func (l *Linux) checkRules(ctx context.Context, family state.Family, rules string) (err error) {
	var missing netutil.MissingModules
	if err := missing.Add(l.backend.Probe(family)); err != nil {
		return err
	}
	used := extensionsOf(rules, family, scratchName(family))
	set := ipset.Set{Name: scratchName(family), Type: ipset.HashIPPort, Family: family.Inet()}
	for _, t := range state.SetTypes {
		failed := l.ipset.Probe(ipset.Type(t), family.Inet())
		if err := missing.Add(failed); err != nil {
			return err
		}
		if failed != nil && ipset.Type(t) == set.Type {
			used, set.Name = withoutSets(used, family, &missing), ""
		}
	}
	if set.Name != "" {
		if err := l.ipset.Create(set); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.ipset.Destroy(set.Name)) }()
	}
	if err := l.checkExtensions(l.counted(ctx), family, used, &missing); err != nil {
		return err
	}
	return missing.All()
}

// withoutSets returns used without the match set, which cannot be tried without a set. It adds
// the match's module to missing, since that may be missing, too.
func withoutSets(used []extension, family state.Family, missing *netutil.MissingModules) []extension {
	return slices.DeleteFunc(used, func(e extension) bool {
		if e.name != "set" {
			return false
		}
		_ = missing.Add(&netutil.MissingModules{Err: errors.New("the match set of iptables was not tried"), Modules: []string{e.module(family)}})
		return true
	})
}

// checkExtensions tries extensions in scratch chains. If that fails, it tries them one by one,
// and adds to missing those that fail while a chain without rules does not.
func (l *Linux) checkExtensions(ctx context.Context, family state.Family, used []extension, missing *netutil.MissingModules) error {
	if err := scratch(ctx, l.backend, family, probesOf(used)); !saidNo(err) {
		return err
	}
	if err := scratch(ctx, l.backend, family, probesOf(nil)); err != nil {
		return l.unusable(family, used, missing, err)
	}
	var cannot, modules []string
	var first error
	for _, e := range used {
		err := scratch(ctx, l.backend, family, probesOf([]extension{e}))
		if err != nil && !saidNo(err) {
			return err
		}
		if err != nil {
			cannot, first = append(cannot, strconv.Quote(e.rules[0].text)), cmp.Or(first, err)
			modules = append(modules, e.module(family))
		}
	}
	if first == nil {
		return nil // each works, since by now the kernel has loaded all modules
	}
	if err := scratch(ctx, l.backend, family, probesOf(nil)); err != nil {
		return err // what has failed meanwhile proves nothing
	}
	return missing.Add(&netutil.MissingModules{
		Err:     fmt.Errorf("the kernel or iptables (%s) of %s cannot do %s: %w", l.backend, family, strings.Join(cannot, ", "), first),
		Modules: modules,
	})
}

// unusable adds to missing that the variant of iptables does not work because of err, with its
// missing modules and those of all extensions, which cannot be tried. It returns an error if
// no module explains err.
func (l *Linux) unusable(family state.Family, used []extension, missing *netutil.MissingModules, err error) error {
	err = fmt.Errorf("iptables (%s) of %s does not work on this node, and its matches and targets were not tried: %w", l.backend, family, err)
	modules := l.backend.Missing(family)
	if !saidNo(err) || len(modules) == 0 && missing.Err == nil {
		return err
	}
	for _, e := range used {
		modules = append(modules, e.module(family))
	}
	return missing.Add(&netutil.MissingModules{Err: err, Modules: modules})
}
