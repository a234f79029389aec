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

// LinkName is the dummy device with the ClusterIPs: users of kube-proxy know this name, and
// Calico looks for it.
const LinkName = "kube-ipvs0"

// linkAlias marks a device that kube-ipvs has made or taken over.
const linkAlias = "kube-ipvs"

// Options configure Linux.
type Options struct {
	IPv6    bool            // the node has IPv6
	Images  []netip.Prefix  // prefixes of mapped addresses, which no other program of the node may use
	Backend netutil.Backend // variant of iptables; "": detect it
	NodeIPs []netip.Addr    // node addresses instead of the kernel's choice, at most one a family
	Relays  []netip.Addr    // relays of node ports on loopback addresses, at most one a family
	NoLoad  bool            // do not load IPVS: where it is not loaded, there are no virtual servers to read

	// TakeOver adopts the objects of kube-proxy's IPVS mode: kube-ipvs0 unless it has
	// another program's alias, its host addresses, and virtual servers at these or at
	// kube-proxy's node ports. It never adopts virtual servers by firewall mark.
	TakeOver bool
	// ExcludeCIDRs are addresses that TakeOver leaves alone, with the virtual servers at
	// them.
	ExcludeCIDRs []netip.Prefix
}

// ParseBackend returns the variant of iptables with the name; "" for "auto".
func ParseBackend(s string) (netutil.Backend, error) {
	switch b := netutil.Backend(s); b {
	case "auto":
		return "", nil
	case netutil.NFT, netutil.Legacy:
		return b, nil
	}
	return "", fmt.Errorf("%q is neither nft nor legacy nor auto", s)
}

// usable returns nil if this process can control IPVS, else an error with the reason, such
// as a missing capability, and the remedy.
func usable() error {
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
	ends    []int // the end of each op's requests in batch
	index   int   // index of the dummy device while a plan is applied; 0: not looked up
	noDummy bool  // the kernel had no dummy devices at the last try
}

// loopback is the index that the kernel gives every namespace's loopback device
// (LOOPBACK_IFINDEX).
const loopback = 1

// OpenLinux opens the kernel. It writes nothing. The error names what the kernel or the
// process lacks.
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
	// A kernel without conntrack does not have the sysctl.
	liberal, err := netutil.ReadSysctl("net/netfilter/nf_conntrack_tcp_be_liberal")
	f.TCPBeLiberal = err == nil && liberal != "0"
	vips, _, exists, err := l.links.FindDummy(LinkName)
	if err != nil {
		return f, err
	}
	f.NoDevice = f.NoDevice || l.noDummy && !exists
	for _, family := range state.Families(true) {
		ip, mtu, err := l.links.DefaultSource(family, vips)
		if err != nil {
			return f, err
		}
		for _, o := range l.options.NodeIPs {
			if state.FamilyOf(o) == family {
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

// noIPv6 reports whether IPv6 is switched off: everywhere, if the loopback device has none,
// by which all routes of kube-ipvs go; or only for addresses, if kube-ipvs0 has none, which
// begins with the sysctl of "default". net.ipv6.conf.all.disable_ipv6 sets all of these.
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
