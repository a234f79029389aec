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
}

// Check tries, before the first write, whether the kernel has the features that n needs; by
// that a kernel loads its modules. It leaves no object behind. It does not try the rules of
// a family if an earlier run has left some, which prove that they work. The error names
// missing features without which kube-ipvs cannot run; lacks names the others. If a feature
// of IPv6 is missing, this Linux serves IPv4 only from then on.
func (l *Linux) Check(ctx context.Context, n Needs) (lacks []error, err error) {
	have, err := l.Read(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.checkImages(), l.checkIPVS(ctx, have, n.Scheduler)); err != nil {
		return nil, err
	}
	for i, family := range l.families() {
		if !have.Has(state.RulesID(family)) {
			err := l.checkRules(ctx, family, n.Rules[i])
			if family.Is6() {
				err = errors.Join(l.ipvs.ProbeIPv6(n.Scheduler), err)
			}
			if family.Is6() && refused(err) {
				l.options.IPv6 = false
				lacks = append(lacks, fmt.Errorf("Services are served over IPv4 alone: %w", err)) //nolint:staticcheck // Services is the name of a kind
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		err := l.checkOwn(family, n.Rules[i])
		if err != nil && !errors.Is(err, netutil.ErrNoNFTables) {
			return nil, err
		}
		if err != nil {
			lacks = append(lacks, fmt.Errorf("DNAT of other programs may take ports of ClusterIPs: %w", err))
		}
	}
	more, err := l.checkOptional(n.Device && !have.Has(state.LinkID()))
	return append(lacks, more...), err
}

var (
	errNoDummies = errors.New("the kernel has no dummy devices, so that ClusterIPs are routes only: " + netutil.Lacks("dummy"))
	errNoFlows   = errors.New("UDP flows stay with removed endpoints, since conntrack cannot be read: " + netutil.Lacks("nf_conntrack_netlink"))
)

// checkOptional tries features that kube-ipvs can do without. device: kube-ipvs0 must be made.
func (l *Linux) checkOptional(device bool) (lacks []error, err error) {
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

// refused reports whether the kernel or a tool refused, or the tool is missing.
func refused(err error) bool {
	var missing *netutil.MissingModules
	return errors.As(err, &missing) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, netutil.ErrAbsent) || saidNo(err)
}

// saidNo reports whether a tool of iptables ended by itself and refused: it did not hang,
// was not killed, and did not wait for another program.
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
	if err != nil {
		names, _ := l.ipvs.Schedulers(state.Schedulers)
		return fmt.Errorf("%w; this kernel has: %s", err, strings.Join(names, ", "))
	}
	return nil
}

// checkRules tries all set types, and all extensions of iptables in rules, in scratch sets
// and chains. If that fails, it tries them one by one, to name the missing ones.
func (l *Linux) checkRules(ctx context.Context, family netip.Addr, rules string) (err error) {
	if err := l.backend.Probe(number(family)); err != nil {
		return err
	}
	for _, t := range state.SetTypes {
		if err := l.ipset.Probe(ipset.Type(t), inet(family)); err != nil {
			return err
		}
	}
	set := scratchName(family)
	if err := l.ipset.Create(ipset.Set{Name: set, Type: ipset.HashIPPort, Family: inet(family)}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.ipset.Destroy(set)) }()
	ctx = l.counted(ctx)
	used := extensionsOf(rules, family, set)
	if err := scratch(ctx, l.backend, family, probesOf(used)); err == nil || !saidNo(err) {
		return err
	}
	if err := scratch(ctx, l.backend, family, probesOf(nil)); err != nil { // not even empty chains
		return l.unusable(family, err)
	}
	var cannot, modules []string
	var first error
	for _, e := range used {
		if err := scratch(ctx, l.backend, family, probesOf([]extension{e})); err != nil {
			cannot, first = append(cannot, strconv.Quote(e.rules[0].text)), cmp.Or(first, err)
			if m := e.module(family); !slices.Contains(modules, m) {
				modules = append(modules, m)
			}
		}
	}
	if first == nil {
		return nil // each works, since by now the kernel has loaded all modules
	}
	return fmt.Errorf("the kernel or iptables (%s) of IPv%d cannot do %s: %s: %w", l.backend, number(family), strings.Join(cannot, ", "), netutil.Lacks(modules...), first)
}

// unusable returns the error that the variant of iptables does not work because of err, with
// the modules that it lacks.
func (l *Linux) unusable(family netip.Addr, err error) error {
	err = fmt.Errorf("iptables (%s) of IPv%d does not work on this node: %w", l.backend, number(family), err)
	if modules := l.backend.Missing(number(family)); refused(err) && len(modules) > 0 {
		err = fmt.Errorf("%w: %s", err, netutil.Lacks(modules...))
	}
	return err
}
