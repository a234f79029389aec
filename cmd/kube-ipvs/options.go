package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// options are the flags that say what to program and how.
type options struct {
	manifests         []string
	nodeName, zone    string
	nodeIPs           []string
	scheduler, mode   string
	podCIDRs          []string
	nodePortAddresses []string
	masqueradeAll     bool
	masqueradeBit     uint8
	backend           string
	auditPeriod       time.Duration
	drainTimeout      time.Duration
	ipvsTCPTimeout    time.Duration
	images            [2][3]string
	logFormat         string
	verbose           bool
}

// newFlags returns a flag set whose help is written for a newcomer.
func newFlags(name, about string, out io.Writer) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetOutput(out)
	fs.SortFlags = false
	fs.Usage = func() {
		fmt.Fprintf(out, "Usage: kube-ipvs %s [FLAGS]\n\n%s\n\nFlags:\n%s", name, strings.TrimSpace(about), fs.FlagUsages())
	}
	return fs
}

var imageFlags = [3]string{"image-prefix", "image-prefix-local", "image-prefix-nodeport"}

func (o *options) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.manifests, "manifests", nil, "file or folder with Services and EndpointSlices as YAML or JSON; may be given several times")
	fs.StringVar(&o.nodeName, "node-name", "", "name of this node as endpoints say it in nodeName (default: the host's name, in lower case)")
	fs.StringVar(&o.zone, "zone", "", "zone of this node for topology hints (default: label topology.kubernetes.io/zone of the Node, if the manifests have it)")
	fs.StringSliceVar(&o.nodeIPs, "node-ip", nil, "this node's own address, one a family: the source of its own packets to Services (default: that of the default route)")
	fs.StringVar(&o.mode, "cluster-ip-servers", string(desired.Direct), "where the virtual servers of ClusterIPs stand: direct (on the ClusterIP) or image (on a private image of it: connections survive idling and removal)")
	fs.StringVar(&o.scheduler, "scheduler", "rr", "IPVS scheduler of Services that do not name one by the annotation kube-ipvs/scheduler: rr, wrr, lc, wlc, sh, mh, ... as the kernel has them")
	fs.StringSliceVar(&o.podCIDRs, "cluster-cidr", nil, "source addresses of pods, one CIDR a family: all other traffic to ClusterIPs is masqueraded")
	fs.StringSliceVar(&o.nodePortAddresses, "nodeport-addresses", nil, "CIDRs of the node addresses that serve node ports (default: all)")
	fs.BoolVar(&o.masqueradeAll, "masquerade-all", false, "masquerade all traffic to ClusterIPs")
	fs.Uint8Var(&o.masqueradeBit, "iptables-masquerade-bit", 14, "bit of the packet mark, 0 to 31, that asks for masquerade")
	fs.StringVar(&o.backend, "iptables-backend", "auto", "variant of iptables that this host uses: nft, legacy or auto")
	fs.DurationVar(&o.auditPeriod, "audit-period", 5*time.Minute, "time between full comparisons with the kernel, which repair what others changed")
	fs.DurationVar(&o.drainTimeout, "drain-timeout", 15*time.Minute, "how long connections of a removed endpoint may go on, with direct")
	fs.DurationVar(&o.ipvsTCPTimeout, "ipvs-tcp-timeout", 0, "how long IPVS keeps an idle TCP connection (default 0: 24h as conntrack, with direct; as the kernel has it, with image)")
	o.addImages(fs)
	fs.StringVar(&o.logFormat, "log-format", "text", "text or json")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "log rounds that wrote nothing, too")
}

// addImages adds the flags of the private prefixes.
func (o *options) addImages(fs *pflag.FlagSet) {
	for f, family := range []string{"", "6"} {
		im := desired.DefaultImages[f]
		for i, p := range []netip.Prefix{im.Cluster, im.Local, im.NodePort} {
			fs.StringVar(&o.images[f][i], imageFlags[i]+family, p.String(), [3]string{
				"private prefix for images of frontends", "the same for externalTrafficPolicy Local seen from outside", "the same for node ports, /30 or /126 at the least",
			}[i])
		}
	}
}

// problems collects all that is wrong, so that it is told at once.
type problems []error

func (p *problems) check(flag string, err error) {
	if err != nil {
		*p = append(*p, fmt.Errorf("--%s: %w", flag, err))
	}
}

// config turns the flags into a configuration. The error names every flag that
// is wrong.
func (o *options) config() (proxier.Config, kernel.Options, error) {
	var ps problems
	c := proxier.Config{Zone: o.zone, AuditPeriod: o.auditPeriod, DrainTimeout: o.drainTimeout}
	d := desired.Config{Mode: desired.Mode(o.mode), Scheduler: o.scheduler, IPv6: kernel.HasIPv6(), MasqueradeAll: o.masqueradeAll, MasqueradeBit: o.masqueradeBit}
	var err error
	d.NodeName, err = o.node()
	ps.check("node-name", err)
	if d.Mode != desired.Direct && d.Mode != desired.Image {
		ps.check("cluster-ip-servers", fmt.Errorf("%q is neither direct nor image", o.mode))
	}
	if o.masqueradeBit > 31 {
		ps.check("iptables-masquerade-bit", fmt.Errorf("%d is not between 0 and 31", o.masqueradeBit))
	}
	if o.auditPeriod < time.Second {
		ps.check("audit-period", fmt.Errorf("%s is less than a second", o.auditPeriod))
	}
	if o.drainTimeout < 0 {
		ps.check("drain-timeout", fmt.Errorf("%s is negative", o.drainTimeout))
	}
	if o.ipvsTCPTimeout < 0 || o.ipvsTCPTimeout%time.Second != 0 {
		ps.check("ipvs-tcp-timeout", fmt.Errorf("%s is not a whole number of seconds", o.ipvsTCPTimeout))
	}
	d.IPVSTCPTimeout = o.ipvsTCPTimeout
	d.PodCIDRs, err = perFamily(o.podCIDRs)
	ps.check("cluster-cidr", err)
	d.NodePortAddresses, err = cidrs(o.nodePortAddresses)
	ps.check("nodeport-addresses", err)
	d.Images = o.imagePrefixes(&ps)
	for f, im := range d.Images {
		if p := d.PodCIDRs[f]; p.IsValid() {
			if q, bad := im.Overlap(p); bad {
				ps.check("cluster-cidr", fmt.Errorf("%s overlaps the image prefix %s; choose another by --%s", p, q, imageFlags[0]))
			}
		}
	}
	k := kernel.Options{IPv6: d.IPv6, Rules: [2]string{d.Rules(state.IPv4), d.Rules(state.IPv6)}}
	for _, im := range d.Images {
		k.Images = append(k.Images, im.Cluster, im.Local, im.NodePort)
	}
	k.Backend, err = kernel.ParseBackend(o.backend)
	ps.check("iptables-backend", err)
	for _, s := range o.nodeIPs {
		ip, err := netip.ParseAddr(s)
		ps.check("node-ip", err)
		k.NodeIPs = append(k.NodeIPs, ip)
	}
	c.Log, err = o.logger()
	ps.check("log-format", err)
	c.Desired = d
	return c, k, errors.Join(ps...)
}

func (o *options) node() (string, error) {
	if o.nodeName != "" {
		return o.nodeName, nil
	}
	name, err := os.Hostname()
	return strings.ToLower(strings.TrimSpace(name)), err
}

func (o *options) imagePrefixes(ps *problems) [2]desired.Images {
	var out [2]desired.Images
	for f := range out {
		suffix := []string{"", "6"}[f]
		bad := len(*ps)
		for i, to := range []*netip.Prefix{&out[f].Cluster, &out[f].Local, &out[f].NodePort} {
			p, err := netip.ParsePrefix(o.images[f][i])
			ps.check(imageFlags[i]+suffix, err)
			*to = p
		}
		if len(*ps) == bad {
			ps.check(imageFlags[0]+suffix, out[f].Validate(f == 0))
		}
	}
	return out
}

func (o *options) logger() (*slog.Logger, error) {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	}
	return nil, fmt.Errorf("%q is neither text nor json", o.logFormat)
}

func cidrs(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not a CIDR such as 192.168.0.0/24", s)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// perFamily reads at most one CIDR a family, IPv4 first in the result.
func perFamily(list []string) ([2]netip.Prefix, error) {
	var out [2]netip.Prefix
	ps, err := cidrs(list)
	if err != nil {
		return out, err
	}
	for _, p := range ps {
		at := &out[0]
		if p.Addr().Is6() {
			at = &out[1]
		}
		if at.IsValid() {
			return out, fmt.Errorf("%s and %s are of the same family", *at, p)
		}
		*at = p
	}
	return out, nil
}
