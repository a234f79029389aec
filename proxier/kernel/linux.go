package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

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
	View
	batch   netutil.Batch
	ends    []int // where the requests of each op in batch end
	index   int   // of the dummy device while a plan is applied, 0: not looked up
	noDummy bool  // the kernel had no dummy devices when the last one was to be made
}

// loopback is the index that the kernel gives every namespace's loopback device
// (LOOPBACK_IFINDEX).
const loopback = 1

// OpenLinux opens the kernel. The error says what the kernel or the process
// lacks. It writes nothing.
func OpenLinux(ctx context.Context, o Options) (*Linux, error) {
	l := &Linux{View: View{options: o, backend: o.Backend, proof: &proof{}}}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Backend returns the variant of iptables in use.
func (l *Linux) Backend() netutil.Backend { return l.backend }

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

// Reader is part of Kernel.
func (l *Linux) Reader(ctx context.Context) (Reader, error) {
	v := &View{options: l.options, backend: l.backend, expected: l.expected, proof: l.proof, adopts: l.adopts}
	if err := v.open(ctx); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	v.began = cpuTime()
	return v, nil
}

// ProbeScheduler is part of Kernel.
func (l *Linux) ProbeScheduler(_ context.Context, name string) error {
	return l.ipvs.ProbeScheduler(name)
}

var _ Kernel = (*Linux)(nil)
