// Package relay serves node ports on loopback addresses. IPVS refuses packets from such an address, so
// that rules send the connections to a Relay. The Relay asks conntrack for the dialled address, and dials
// it from the node's own address, as any program of the node does; the kernel chooses the endpoint. There
// is one listener for each protocol and family, for any number of node ports. The Relay does not serve
// SCTP.
package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Config configures a Relay.
type Config struct {
	Listeners []*Listener // one for each family
	// Origin returns the dialled address of a client whose packets NAT has sent to at. One
	// goroutine at a time calls it, with an IP protocol number.
	Origin func(proto uint8, client, at netip.AddrPort) (netip.AddrPort, error)
	Log    *slog.Logger
}

// Limits of a Relay. A connection has six file descriptors, four of them of pipes.
const (
	mostAtOnce = 4096             // connections and UDP flows together
	ofOnePort  = 4                // one node port may take a fourth of them
	dialWithin = 15 * time.Second // time for an endpoint to answer
	udpIdle    = 2 * time.Minute  // idle time of a UDP flow, as in conntrack (nf_conntrack_udp_timeout_stream)
	udpSure    = time.Second      // after so much silence the client may mean another node port
	retryAfter = 5 * time.Second  // pause after the failure of a listener
)

// Relay relays connections to all node ports. Run runs it; its other methods are safe from any goroutine.
type Relay struct {
	config  Config
	idle    time.Duration // udpIdle
	sure    time.Duration // udpSure
	places  *places
	metrics *metrics
	sources atomic.Pointer[[]netip.Addr] // the node's own addresses
	asking  sync.Mutex                   // for config.Origin
	running sync.WaitGroup
}

// New returns a Relay. It does nothing before Run.
func New(c Config) *Relay {
	most := mostHere()
	return &Relay{config: c, idle: udpIdle, sure: udpSure, places: newPlaces(most, most/ofOnePort), metrics: newMetrics()}
}

// mostHere returns mostAtOnce, or fewer if the process may open only few files.
func mostHere() int {
	const share = 16 // a sixteenth of the files; the rest is for the other parts of the process
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return mostAtOnce
	}
	return int(min(mostAtOnce, limit.Cur/share))
}

// Observe takes the addresses to dial from out of a round. It returns at once.
func (r *Relay) Observe(round *report.Round) {
	if round.Err == nil {
		r.sources.Store(&round.NodeIPs)
	}
}

// source returns the node's own address for packets to another, or an invalid address.
func (r *Relay) source(to netip.Addr) netip.Addr {
	if all := r.sources.Load(); all != nil {
		return state.Facts{NodeIPs: *all}.NodeIP(state.FamilyOf(to))
	}
	return netip.Addr{}
}

// origin returns the dialled address of a client.
func (r *Relay) origin(proto uint8, client, at netip.AddrPort) (netip.AddrPort, error) {
	r.asking.Lock()
	defer r.asking.Unlock()
	return r.config.Origin(proto, client, at)
}

// Run serves until ctx ends. When it returns, all connections and the listeners are closed.
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

// keep calls serve again after each failure, such as no free file or memory. The socket stays open, since
// another program could get its port otherwise.
func (r *Relay) keep(ctx context.Context, at netip.AddrPort, protocol string, serve func() error) {
	for ctx.Err() == nil {
		err := serve()
		if ctx.Err() != nil {
			return
		}
		r.metrics.failed("listen")
		r.config.Log.Warn("node ports on loopback addresses are not served; it is tried again", "protocol", protocol, "at", at, "again", retryAfter, "err", err)
		pace.Pause(ctx, retryAfter)
	}
}

// network returns the name of a protocol in package net, for the family of an address.
func network(protocol string, a netip.Addr) string { return state.FamilyOf(a).Network(protocol) }
