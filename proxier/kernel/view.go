package kernel

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// View reads the kernel. It has sockets of its own, so that the writer never waits for a
// read. It opens each when it is first needed, in the network namespace of the calling
// thread. Only one goroutine may use a View at a time. An error means unknown, never empty.
type View struct {
	options  Options
	backend  netutil.Backend
	expected [2]string // the wanted rules of IPv4 and IPv6

	ipvs      *ipvs.Client
	ipset     *ipset.Client
	links     *netutil.Links
	conntrack *netutil.Conntrack
	sockets   []socket // the open ones

	execs   atomic.Uint64
	adopts  adoption                         // found by the last Read
	fresh   map[state.Family]netutil.Ruleset // found by the last Read and not written since
	freshAt time.Time
	proof   *proof        // shared by Linux and its Readers
	began   time.Duration // cpuTime when a Reader was opened
}

// NewView returns a View of IPv4 and, if ipv6 is true, IPv6. It opens no socket.
func NewView(ipv6 bool) *View {
	return &View{options: Options{IPv6: ipv6}, proof: &proof{}}
}

type socket interface {
	Close() error
	Stats() netutil.Stats
}

// opened opens a socket of v unless it is open.
func opened[T any, S interface {
	*T
	socket
}](v *View, at *S, open func() (S, error)) error {
	if *at != nil {
		return nil
	}
	s, err := open()
	if err != nil {
		return err
	}
	*at, v.sockets = s, append(v.sockets, s)
	return nil
}

// open opens the sockets for all objects, and detects the variant of iptables in use.
func (v *View) open(ctx context.Context) error {
	if err := v.openOthers(); err != nil || v.backend != "" {
		return err
	}
	var err error
	v.backend, err = netutil.DetectBackend(ctx, state.Prefix4)
	return err
}

// openOthers opens the sockets for all objects except rules. It stops at the first error,
// since opening a socket may make the kernel load a module.
func (v *View) openOthers() error {
	for _, open := range []func() error{v.openServers, v.openSets, v.openLinks} {
		if err := open(); err != nil {
			return err
		}
	}
	return nil
}

// openServers leaves v.ipvs nil where IPVS is not loaded and must not be.
func (v *View) openServers() error {
	if v.options.NoLoad && v.ipvs == nil {
		if loaded, err := ipvs.Loaded(); err != nil || !loaded {
			return err
		}
	}
	return opened(v, &v.ipvs, ipvs.Open)
}

func (v *View) openSets() error  { return opened(v, &v.ipset, ipset.Open) }
func (v *View) openLinks() error { return opened(v, &v.links, netutil.OpenLinks) }

// Close closes all sockets.
func (v *View) Close() error {
	var errs []error
	for _, s := range v.sockets {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Stats is part of Kernel and of Reader. All processes are iptables tools.
func (v *View) Stats() Stats {
	out := Stats{Processes: v.execs.Load()}
	for _, socket := range v.sockets {
		s := socket.Stats()
		out = out.Plus(Stats{Messages: s.Messages, Sends: s.Sends, Dumps: s.Dumps, Errors: s.Errors, Bytes: s.Bytes})
	}
	return out
}

// Cost is part of Reader.
func (v *View) Cost() time.Duration { return cpuTime() - v.began }

// cpuTime returns the CPU time of this process and of the children that it has waited for.
func cpuTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

func (v *View) families() []state.Family { return state.Families(v.options.IPv6) }
