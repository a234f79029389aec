package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// LinkName is the dummy device that carries ClusterIPs: the name that users of
// kube-proxy know and that Calico looks for.
const LinkName = "kube-ipvs0"

// linkAlias marks the device as made by us.
const linkAlias = "kube-ipvs"

// Options are what Linux must be told.
type Options struct {
	IPv6    bool            // the node has IPv6
	Images  []netip.Prefix  // that nobody else on the node may use
	Backend netutil.Backend // of iptables; empty: find out
	NodeIPs []netip.Addr    // override what the kernel says, one a family at most
	Relays  []netip.Addr    // of node ports on loopback addresses, one a family at most

	// TakeOver makes what kube-proxy's IPVS mode has left ours: kube-ipvs0
	// unless it bears another's alias, the host addresses on it, and virtual
	// servers on them or on its node ports. Those by firewall mark never are.
	TakeOver bool
	// ExcludeCIDRs are addresses that TakeOver leaves alone, with the virtual
	// servers on them.
	ExcludeCIDRs []netip.Prefix
}

// ParseBackend reads the name of an iptables variant; "auto" is empty.
func ParseBackend(s string) (netutil.Backend, error) {
	switch b := netutil.Backend(s); b {
	case "auto":
		return "", nil
	case netutil.NFT, netutil.Legacy:
		return b, nil
	}
	return "", fmt.Errorf("%q is neither nft nor legacy nor auto", s)
}

// Usable returns what keeps this process from controlling IPVS, such as a
// missing capability, and what to do about it.
func Usable() error {
	c, err := ipvs.Open()
	if err != nil {
		return err
	}
	return c.Close()
}

// Linux is the kernel of this network namespace. It is a Kernel.
type Linux struct {
	options  Options
	expected [2]string // what the rules are to be, IPv4 and IPv6
	backend  netutil.Backend
	ipvs     *ipvs.Client
	ipset    *ipset.Client
	links    *netutil.Links
	batch    netutil.Batch
	ends     []int // where the requests of each op in batch end
	loopback int   // index of the loopback device
	index    int   // of the dummy device while a plan is applied, 0: not looked up
	noDummy  bool  // the kernel had no dummy devices when the last one was to be made
	execs    atomic.Uint64
	adopts   adoption                       // as found by the last Read
	fresh    map[netip.Addr]netutil.Ruleset // by family, as found by the last Read and not changed since
	freshAt  time.Time
	proof    *proof        // shared with Readers
	opened   time.Duration // of a Reader: what cpuTime was then
}

// freshFor is how long rules are as they were read: as long as it takes to write
// what the reading has shown.
const freshFor = time.Second

// OpenLinux opens the kernel. The error says what the kernel or the process
// lacks. It writes nothing.
func OpenLinux(ctx context.Context, o Options) (*Linux, error) {
	l := &Linux{options: o, backend: o.Backend, proof: &proof{}}
	var err error
	if l.ipvs, err = ipvs.Open(); err != nil {
		return nil, err
	}
	if l.ipset, err = ipset.Open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open ipset: %w", err), l.Close())
	}
	if l.links, err = netutil.OpenLinks(); err != nil {
		return nil, errors.Join(fmt.Errorf("open links: %w", err), l.Close())
	}
	if l.backend == "" {
		if l.backend, err = netutil.DetectBackend(ctx, state.Prefix4); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	l.loopback = 1 // the kernel gives every namespace's loopback device index 1 (LOOPBACK_IFINDEX)
	return l, nil
}

// Close closes all sockets.
func (l *Linux) Close() error {
	var errs []error
	if l.ipvs != nil {
		errs = append(errs, l.ipvs.Close())
	}
	if l.ipset != nil {
		errs = append(errs, l.ipset.Close())
	}
	if l.links != nil {
		errs = append(errs, l.links.Close())
	}
	return errors.Join(errs...)
}

// Backend returns the variant of iptables in use.
func (l *Linux) Backend() netutil.Backend { return l.backend }

// Stats is part of Kernel. Processes are runs of the iptables tools, which are
// the only ones.
func (l *Linux) Stats() Stats {
	out := Stats{Processes: l.execs.Load()}
	for _, s := range []netutil.Stats{l.ipvs.Stats(), l.ipset.Stats(), l.links.Stats()} {
		out.Sends += s.Sends
		out.Messages += s.Messages
		out.Dumps += s.Dumps
		out.Errors += s.Errors
		out.Bytes += s.Bytes
	}
	return out
}

// Facts is part of Kernel.
func (l *Linux) Facts(context.Context) (f state.Facts, err error) {
	err = l.links.Together(func() error {
		f, err = l.facts()
		return err
	})
	return f, err
}

func (l *Linux) facts() (state.Facts, error) {
	var f state.Facts
	var err error
	if f.NoIPv6, f.NoVIPv6, err = noIPv6(); err != nil {
		return f, err
	}
	if f.NoDevice, err = l.links.Taken(LinkName); err != nil {
		return f, err
	}
	// Without conntrack there is no such sysctl, and nothing is liberal.
	liberal, err := netutil.ReadSysctl("net/netfilter/nf_conntrack_tcp_be_liberal")
	f.TCPBeLiberal = err == nil && liberal != "0"
	vips, _, exists, err := l.links.FindDummy(LinkName)
	if err != nil {
		return f, err
	}
	f.NoDevice = f.NoDevice || l.noDummy && !exists
	for _, family := range []int{4, 6} {
		ip, mtu, err := l.links.DefaultSource(family, vips)
		if err != nil {
			return f, err
		}
		for _, o := range l.options.NodeIPs {
			if o.Is4() == (family == 4) {
				ip = o
			}
		}
		if ip.IsValid() {
			f.NodeIPs = append(f.NodeIPs, ip)
		}
		if mtu != 0 && (f.MTU == 0 || mtu < f.MTU) {
			f.MTU = mtu
		}
	}
	addrs, err := l.links.Addresses()
	for _, a := range addrs {
		if slices.ContainsFunc(l.options.Images, func(p netip.Prefix) bool { return p.Contains(a.Prefix.Addr()) }) {
			f.InImages = append(f.InImages, a.Prefix)
		}
	}
	return f, err
}

// noIPv6 reports whether IPv6 is switched off. What counts is the loopback device,
// by which all routes of ours go, and for addresses kube-ipvs0, which is made as the
// default says: net.ipv6.conf.all.disable_ipv6 sets all of these.
func noIPv6() (everywhere, device bool, err error) {
	off, there, err := ipv6Off("lo")
	if err != nil || off || !there {
		return off || !there, off || !there, err
	}
	if off, there, err = ipv6Off(LinkName); !there && err == nil {
		off, _, err = ipv6Off("default")
	}
	return false, off, err
}

func ipv6Off(device string) (off, there bool, err error) {
	v, err := netutil.ReadSysctl("net/ipv6/conf/" + device + "/disable_ipv6")
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	return v != "0", true, err
}

// Expect is part of Kernel.
func (l *Linux) Expect(rules [2]string) { l.expected = rules }

// ProbeScheduler is part of Kernel.
func (l *Linux) ProbeScheduler(_ context.Context, name string) error {
	return l.ipvs.ProbeScheduler(name)
}

var _ Kernel = (*Linux)(nil)
