// Package relay serves node ports on loopback addresses. IPVS refuses packets from
// such an address, so that rules send the connections to a Relay instead. It asks
// conntrack what was dialled and dials the same from the node's own address, by the
// way of every program of the node: which endpoint is chosen, and whether any is,
// the kernel says. There is one listener a protocol and family however many node
// ports there are. SCTP is not served.
package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/report"
)

// Config is what a Relay must be told.
type Config struct {
	Listeners []*Listener // one a family
	// Origin returns what a client has dialled whose packets NAT has sent to at. It is
	// called by one goroutine at a time, with an IP protocol number.
	Origin func(proto uint8, client, at netip.AddrPort) (netip.AddrPort, error)
	Log    *slog.Logger
}

// Limits of a Relay. A connection has six file descriptors, four of them of pipes.
const (
	mostAtOnce = 4096             // connections and UDP flows, all together
	ofOnePort  = 4                // a node port has one of so many parts at the most
	dialWithin = 15 * time.Second // an endpoint must answer
	udpIdle    = 2 * time.Minute  // a UDP flow ends, as in conntrack (nf_conntrack_udp_timeout_stream)
	udpSure    = time.Second      // and after so much silence the client may mean another node port
	retryAfter = 5 * time.Second  // after a listener has failed to take a client
)

// Relay is a relay for all node ports. Run runs it; its other methods may be called
// from any goroutine.
type Relay struct {
	config  Config
	idle    time.Duration // udpIdle
	sure    time.Duration // udpSure
	places  *places
	metrics *metrics
	sources atomic.Pointer[[]netip.Addr] // the node's own addresses
	asking  sync.Mutex                   // calls config.Origin
	running sync.WaitGroup
}

// New returns a Relay, which Run runs.
func New(c Config) *Relay {
	most := mostHere()
	return &Relay{config: c, idle: udpIdle, sure: udpSure, places: newPlaces(most, most/ofOnePort), metrics: newMetrics()}
}

// mostHere is mostAtOnce, or fewer where the process may have few files open.
func mostHere() int {
	const share = 16 // of the files: the rest of the process has the others
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return mostAtOnce
	}
	return int(min(mostAtOnce, limit.Cur/share))
}

// Observe learns from a round from which addresses to dial. It returns at once.
func (r *Relay) Observe(round *report.Round) {
	if round.Err == nil {
		r.sources.Store(&round.NodeIPs)
	}
}

// source returns the node's own address of a family, or an invalid one.
func (r *Relay) source(family netip.Addr) netip.Addr {
	if all := r.sources.Load(); all != nil {
		for _, a := range *all {
			if a.Is4() == family.Is4() {
				return a
			}
		}
	}
	return netip.Addr{}
}

// origin returns what a client has dialled.
func (r *Relay) origin(proto uint8, client, at netip.AddrPort) (netip.AddrPort, error) {
	r.asking.Lock()
	defer r.asking.Unlock()
	return r.config.Origin(proto, client, at)
}

// Run serves until ctx ends. When it returns all connections are closed, and so are
// the listeners.
func (r *Relay) Run(ctx context.Context) {
	for _, l := range r.config.Listeners {
		u := &udp{relay: r, at: l.at, down: l.udp, flows: map[netip.AddrPort]*flow{}}
		r.running.Go(func() { r.keep(ctx, l.at, "TCP", func() error { return r.serveTCP(ctx, l) }) })
		r.running.Go(func() {
			defer u.close()
			r.keep(ctx, l.at, "UDP", u.serve)
		})
	}
	<-ctx.Done()
	for _, l := range r.config.Listeners {
		l.close()
	}
	r.running.Wait()
}

// keep serves again and again: for a while there may be no file or no memory for one
// more. The socket stays, for another program could have its port then.
func (r *Relay) keep(ctx context.Context, at netip.AddrPort, protocol string, serve func() error) {
	for {
		err := serve()
		if ctx.Err() != nil {
			return
		}
		r.metrics.failed("listen")
		r.config.Log.Warn("node ports on loopback addresses are not served; it is tried again", "protocol", protocol, "at", at, "again", retryAfter, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

// network returns the name of a protocol in a family.
func network(protocol string, a netip.Addr) string {
	if a.Is4() {
		return protocol + "4"
	}
	return protocol + "6"
}
