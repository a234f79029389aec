package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

func addr(s string) (netip.Addr, error) {
	ip, ok := model.ParseAddr(s)
	if !ok {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	return ip, nil
}

func cidrs(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var errs []error
	for _, s := range list {
		p, ok := model.ParsePrefix(s)
		if !ok {
			errs = append(errs, fmt.Errorf("%q is not a CIDR such as 192.168.0.0/24", s))
			continue
		}
		out = append(out, p)
	}
	return out, errors.Join(errs...)
}

// perFamily parses at most one CIDR for each family.
func perFamily(list []string) ([2]netip.Prefix, error) {
	var out [2]netip.Prefix
	ps, err := cidrs(list)
	if err != nil {
		return out, err
	}
	for _, p := range ps {
		at := &out[state.FamilyOf(p.Addr())]
		if at.IsValid() {
			return out, fmt.Errorf("%s and %s are of the same family", *at, p)
		}
		*at = p
	}
	return out, nil
}

// bindAddress parses the address of a server, and completes the text.
func bindAddress(text *string, def netip.Addr, port uint16) (netip.AddrPort, error) {
	switch *text {
	case none:
		return netip.AddrPort{}, nil
	case "":
		*text = netip.AddrPortFrom(def, port).String()
	}
	host, at, err := net.SplitHostPort(*text)
	if err != nil {
		host, at = strings.Trim(*text, "[]"), strconv.Itoa(int(port))
	}
	if ip, ok := model.ParseAddr(host); ok {
		host = ip.String()
	}
	a, err := netip.ParseAddrPort(net.JoinHostPort(host, at))
	if err != nil || a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is not an IP address with or without a port, such as 0.0.0.0:%d, nor %s", *text, port, none)
	}
	*text = a.String()
	return a, nil
}

// families are the paths of the prefixes of IPv4 and IPv6.
var families = [2]string{"imagePrefixes.ipv4", "imagePrefixes.ipv6"}

// images parses the six prefixes of mapped addresses.
func (l *layers) images() [2]desired.Images {
	var out [2]desired.Images
	sets := [2]ImagePrefixSet{l.docs.Own.ImagePrefixes.IPv4, l.docs.Own.ImagePrefixes.IPv6}
	for _, f := range state.Families(true) {
		im, path := &out[f], families[f]
		good := true
		for _, one := range []struct {
			name, text string
			to         *netip.Prefix
		}{{"cluster", sets[f].Cluster, &im.Cluster}, {"local", sets[f].Local, &im.Local}, {"nodePort", sets[f].NodePort, &im.NodePort}} {
			p, err := netip.ParsePrefix(one.text)
			if err != nil {
				l.check(path+"."+one.name, fmt.Errorf("%q is not a CIDR", one.text))
				good = false
			}
			*one.to = p
		}
		if good {
			l.check(path+".cluster", im.Validate(f))
		}
	}
	return out
}

// overlaps notes addresses of pods and of the node in the prefixes of mapped addresses.
func (l *layers) overlaps(c *Config) {
	for f, p := range c.PodCIDRs {
		if !p.IsValid() || c.Proxy.DetectLocalMode != ByClusterCIDR {
			continue
		}
		switch q := c.Images[f].Overlap(p); {
		case q == "" || p.Bits() == 0: // a CIDR of all addresses: pods have only some of them
		case c.Images[f].Contain(p):
			l.check("clusterCIDR", fmt.Errorf("%s lies in %s: endpoints in it could not be reached; choose another", p, q))
		default:
			l.warn("clusterCIDR", "%s contains %s: endpoints in it cannot be reached", p, q)
		}
	}
	for _, ip := range c.NodeIPs {
		for _, im := range c.Images {
			if q := im.Overlap(netip.PrefixFrom(ip, ip.BitLen())); q != "" {
				l.check("nodeIPs", fmt.Errorf("%s lies in %s; choose another", ip, q))
			}
		}
	}
}

// interfaceName checks the name of an interface, or a prefix of names.
func interfaceName(name string) error {
	switch {
	case name == "":
		return errors.New("it is needed with this detectLocalMode")
	case len(name) > 15 || strings.ContainsAny(name, " \t\r\n/:+"):
		return fmt.Errorf("%q is not a name of an interface", name)
	}
	return nil
}

// OneOf returns why text is none of some words, or nil.
func OneOf(words []string, text string) error {
	switch {
	case slices.Contains(words, text):
		return nil
	case len(words) == 2:
		return fmt.Errorf("%q is neither %s nor %s", text, words[0], words[1])
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(words, ", "))
}

// between, noLess, atLeast and positive are checks of specs.

func between(least, most int) func(string) error {
	return func(text string) error {
		if n, err := strconv.Atoi(text); err != nil || n < least || n > most {
			return fmt.Errorf("%s is not between %d and %d", text, least, most)
		}
		return nil
	}
}

func noLess(least int) func(string) error {
	return func(text string) error {
		switch n, err := strconv.Atoi(text); {
		case err == nil && n >= least:
			return nil
		case least == 0:
			return fmt.Errorf("%s is negative", text)
		}
		return fmt.Errorf("%s is less than %d", text, least)
	}
}

func atLeast(least time.Duration) func(string) error {
	return func(text string) error {
		switch d, err := time.ParseDuration(text); {
		case err == nil && d >= least:
			return nil
		case d < 0:
			return fmt.Errorf("%s is negative", text)
		}
		return fmt.Errorf("%s is less than %s", text, least)
	}
}

func positive(text string) error {
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		return fmt.Errorf("%s is not more than 0", text)
	}
	return nil
}

// seconds cuts a timeout to a value that every kernel takes: whole seconds that fit into 31 bits of
// ticks, with up to 1,000 ticks a second. Kernels refuse a larger value, or let it wrap around
// (ip_vs_set_timeout, proc_dointvec_jiffies).
func (l *layers) seconds(path string, d *time.Duration) {
	const most = math.MaxInt32 / 1000 * time.Second
	switch whole := d.Truncate(time.Second); {
	case *d < 0:
		l.check(path, fmt.Errorf("%s is negative", *d))
	case *d > most:
		l.warn(path, "%s is more than a kernel can count; %s counts", *d, most)
		*d = most
	case *d != whole:
		l.warn(path, "%s is not a whole number of seconds; %s counts", *d, whole)
		*d = whole
	}
}
