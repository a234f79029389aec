package node

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"kube-ipvs/netutil"
)

// Sysctl is the desired value of a sysctl.
type Sysctl struct {
	Path    string // below /proc/sys, such as net/ipv4/ip_forward
	Value   string
	AtLeast bool // a number, and a higher one is right too
}

// Apply sets sysctls. It reads first and writes only wrong values, so that it needs no rights on a
// prepared node. It continues after a failure, and returns the changes in words. Its error names
// each wrong sysctl with its value and the desired one.
func Apply(sysctls []Sysctl) (changed []string, err error) {
	var errs []error
	for _, s := range sysctls {
		was, err := netutil.ReadSysctl(s.Path)
		if errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%w: it should be %s; load the kernel module that has it", err, s.Value))
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if s.right(was) {
			continue
		}
		if err := netutil.WriteSysctl(s.Path, s.Value); err != nil {
			errs = append(errs, fmt.Errorf("it is %s and should be %s: %w; kube-ipvs run --init-only sets it where it may", was, s.Value, err))
			continue
		}
		changed = append(changed, fmt.Sprintf("%s from %s to %s", s.name(), was, s.Value))
	}
	return changed, errors.Join(errs...)
}

// right reports whether the value have needs no change.
func (s Sysctl) right(have string) bool {
	have = strings.Join(strings.Fields(have), " ")
	if have == s.Value {
		return true
	}
	h, errHave := strconv.ParseInt(have, 10, 64)
	w, errWant := strconv.ParseInt(s.Value, 10, 64)
	return s.AtLeast && cmp.Or(errHave, errWant) == nil && h >= w
}

// name returns the dotted name.
func (s Sysctl) name() string { return strings.ReplaceAll(s.Path, "/", ".") }

// ConntrackConfig has settings of the kernel's connection tracking. 0 leaves a setting.
type ConntrackConfig struct {
	MaxPerCore            int // the table holds at least max(Min, MaxPerCore*cores)
	Min                   int // without effect if MaxPerCore is 0
	TCPEstablishedTimeout time.Duration
	TCPCloseWaitTimeout   time.Duration
	UDPTimeout            time.Duration
	UDPStreamTimeout      time.Duration
	TCPBeLiberal          bool
}

// mostScaled is what newer releases of kube-proxy limit MaxPerCore*cores to.
const mostScaled = 1 << 20

const conntrackMax = "net/netfilter/nf_conntrack_max"

// ConntrackSysctls returns the sysctls of c on a node with a number of cores. As in kube-proxy, a
// larger table stays, and all other values are set.
func ConntrackSysctls(c ConntrackConfig, cores int) []Sysctl {
	var out []Sysctl
	if c.MaxPerCore > 0 {
		size := max(c.Min, min(c.MaxPerCore*cores, mostScaled))
		out = append(out, Sysctl{Path: conntrackMax, Value: strconv.Itoa(size), AtLeast: true})
	}
	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"tcp_timeout_established", c.TCPEstablishedTimeout}, {"tcp_timeout_close_wait", c.TCPCloseWaitTimeout},
		{"udp_timeout", c.UDPTimeout}, {"udp_timeout_stream", c.UDPStreamTimeout},
	} {
		if seconds := int64(t.value / time.Second); seconds > 0 {
			out = append(out, Sysctl{Path: "net/netfilter/nf_conntrack_" + t.name, Value: strconv.FormatInt(seconds, 10)})
		}
	}
	if c.TCPBeLiberal {
		out = append(out, Sysctl{Path: "net/netfilter/nf_conntrack_tcp_be_liberal", Value: "1"})
	}
	return out
}

// StrictARPSysctls keep the node from answering ARP for addresses of
// kube-ipvs0 and from asking with them.
func StrictARPSysctls() []Sysctl {
	return []Sysctl{{Path: "net/ipv4/conf/all/arp_ignore", Value: "1"}, {Path: "net/ipv4/conf/all/arp_announce", Value: "2"}}
}

// RouteSysctls lifts the limit of IPv6 routes in use. Older kernels count each route of kube-ipvs
// once for each CPU that has used it. Beyond 4,096, as with 64 ClusterIPs on 64 CPUs, the node
// reaches no new address over IPv6. Newer kernels do not count them and have this value by
// default (af6d10345ca7 in Linux 6.3, and its backports). Without IPv6 it returns nothing.
func RouteSysctls() []Sysctl {
	const maxSize = "net/ipv6/route/max_size"
	if _, err := netutil.ReadSysctl(maxSize); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return []Sysctl{{Path: maxSize, Value: strconv.Itoa(math.MaxInt32), AtLeast: true}}
}
