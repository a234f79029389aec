// Package eject takes dead endpoints out of Services that ask for it (kube-ipvs/eject-after),
// without the API server. An endpoint is suspect if new TCP connections to it stay without any
// answer, as conntrack has it: the counters of IPVS would be late, since the kernel updates
// them every two seconds. The node then opens connections to the endpoint itself. If that does
// not answer these either, and another endpoint does, it is ejected: it gets weight 0, and its
// open connections go on. The endpoint serves again once a connection of the node to it
// succeeds, or when it has left the Service and come back.
//
// Of a virtual server at most half of the endpoints have weight 0 for that. If more do not
// answer, or none does, the node itself is cut off, and ejects no more. An endpoint that never
// accepted a connection of the node is not ejected: a network policy may keep the node from it.
//
// An endpoint that refuses connections is not dead: its clients know at once.
package eject

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// Config configures a Watch.
type Config struct {
	Flows   func(context.Context) (kernel.Flows, error) // opens conntrack
	Dial    Dial                                        // nil: from the node
	Changed func(model.Key)                             // a Service must be rendered anew; it must return at once
	Log     *slog.Logger
}

// Dial opens a TCP connection to an endpoint, and closes it.
type Dial func(context.Context, netip.AddrPort) error

// Watch watches the endpoints of Services with eject-after. Only one goroutine may call Run.
// The other methods are safe from any goroutine.
type Watch struct {
	config  Config
	poke    chan struct{} // holds one: there may be an endpoint to watch
	slots   slots         // for probes
	running sync.WaitGroup

	mu        sync.Mutex
	services  map[model.Key]*service
	at        [2]map[netip.AddrPort][]*endpoint                   // their endpoints, by family
	restless  map[*service]bool                                   // those that have something to judge or try
	untold    map[model.Key]bool                                  // Services that Tell has to look at
	ejected   int                                                 // endpoints of Services, by the last Tell
	ejections int                                                 // since the last Sum
	assumed   func(server state.ID, endpoint netip.AddrPort) bool // see Assume
}

// service is a Service with eject-after.
type service struct {
	key       model.Key
	after     time.Duration
	rendering int // counts the renderings
	endpoints map[netip.AddrPort]*endpoint
	waiting   map[netip.AddrPort]*endpoint  // those with connections without an answer
	untried   map[netip.AddrPort]*endpoint  // those that are ejected, or were never reached
	servers   map[state.ID][]netip.AddrPort // of each virtual server, the endpoints that get connections or are ejected
	told      int                           // its part of Watch.ejected
	spared    []netip.AddrPort              // endpoints that do not answer, and are not ejected
	pause     time.Duration                 // grows while endpoints are spared
	calm      time.Time                     // until then no endpoint is suspect
}

// New returns a Watch of no Service.
func New(c Config) *Watch {
	if c.Dial == nil {
		c.Dial = dial
	}
	return &Watch{
		config: c, poke: make(chan struct{}, 1), slots: slots{free: mostProbed}, services: map[model.Key]*service{}, untold: map[model.Key]bool{},
		at: [2]map[netip.AddrPort][]*endpoint{{}, {}}, restless: map[*service]bool{},
	}
}

// Renders says that a Service is rendered now. after is its eject-after; 0: it has none, or is
// gone. Endpoints that Ejected does not get until the next time are forgotten.
func (w *Watch) Renders(key model.Key, after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.services[key]
	switch {
	case after == 0 && of == nil:
		return
	case after == 0:
		delete(w.services, key)
		delete(w.restless, of)
		for _, e := range of.endpoints {
			w.forget(e)
		}
		w.ejected -= of.told
		w.untold[key] = true
		return
	case of == nil:
		of = &service{key: key, endpoints: map[netip.AddrPort]*endpoint{}, waiting: map[netip.AddrPort]*endpoint{}, untried: map[netip.AddrPort]*endpoint{}}
		w.services[key] = of
	}
	for _, e := range of.endpoints {
		if e.rendered != of.rendering {
			w.forget(e)
		}
	}
	of.after, of.servers = after, map[state.ID][]netip.AddrPort{}
	of.rendering++
	w.untold[key] = true
}

// Ejected returns which endpoints of a virtual server must have weight 0, since they are dead;
// nil: none. weights has 0 for endpoints that get no connections anyway; nil: all get some.
func (w *Watch) Ejected(v *model.Service, server state.ID, endpoints []netip.AddrPort, weights []uint32) []bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.services[v.Key]
	if of == nil {
		return nil
	}
	var out []bool
	var serving []netip.AddrPort
	dead := 0
	for i, at := range endpoints {
		if weights != nil && weights[i] == 0 {
			continue
		}
		serving = append(serving, at)
		e := w.use(of, at)
		if !e.isEjected() && (w.assumed == nil || !w.assumed(server, at)) {
			continue
		}
		if out == nil {
			out = make([]bool, len(endpoints))
		}
		out[i], dead = true, dead+1
	}
	of.servers[server] = serving
	select {
	case w.poke <- struct{}{}:
	default:
	}
	for i := len(out) - 1; i >= 0 && 2*dead > len(serving); i-- { // others have left the Service
		if out[i] {
			out[i], dead = false, dead-1
		}
	}
	if dead == 0 {
		return nil
	}
	return out
}

// use returns an endpoint that is rendered.
func (w *Watch) use(of *service, at netip.AddrPort) *endpoint {
	e := of.endpoints[at]
	if e == nil {
		e = &endpoint{of: of, at: at}
		of.endpoints[at] = e
		same := w.at[state.FamilyOf(at.Addr())]
		same[at] = append(same[at], e)
		of.untried[at], w.restless[of] = e, true
	}
	e.rendered = of.rendering
	return e
}

func (w *Watch) forget(e *endpoint) {
	delete(e.of.endpoints, e.at)
	delete(e.of.waiting, e.at)
	delete(e.of.untried, e.at)
	same := w.at[state.FamilyOf(e.at.Addr())]
	same[e.at] = slices.DeleteFunc(same[e.at], func(other *endpoint) bool { return other == e })
	if len(same[e.at]) == 0 {
		delete(same, e.at)
	}
}

// Assume makes Ejected return, too, the endpoints whose real servers have no weight in the
// kernel: those that another process has ejected.
func (w *Watch) Assume(weightless func(server state.ID, endpoint netip.AddrPort) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.assumed = weightless
}
