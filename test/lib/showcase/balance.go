package showcase

import (
	"context"
	"net/netip"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// Balance gives the node endpoints that take less than their full part, for every reason that
// the page has a word for: shop/paid has one that drains (in direct mode), one that is ejected,
// one in slow start and one of weight 0, and shop/full has one at its limit.
func (n *Node) Balance() {
	at := []string{"10.244.1.1", "10.244.1.2", "10.244.1.3", "10.244.1.4"}
	paid := Service("shop", "paid", "10.90.0.20", 80, at...)
	paid[0].Service.Annotations = map[string]string{
		"kube-ipvs/slow-start": "1h", "kube-ipvs/max-connections": "1000", "kube-ipvs/weights": "node=node-3:0", "kube-ipvs/eject-after": "3s",
	}
	full := Service("shop", "full", "10.90.0.21", 80, at[0])
	full[0].Service.Annotations = map[string]string{"kube-ipvs/max-connections": "1"}
	n.Tell(append(paid, full...)...)
	later := slice(paid[0].Service, append(at[1:], "10.244.1.5"))
	later.Slice.Endpoints = append(later.Slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.244.1.6"}, NodeName: new("node-3")})
	n.Tell(later)
	n.silence(netip.MustParseAddrPort("10.90.0.20:80"), netip.MustParseAddrPort("10.244.1.2:8080"))
}

// silence has an endpoint answer no more, while clients dial it, and waits until it is ejected.
func (n *Node) silence(dialled, endpoint netip.AddrPort) {
	n.endpoints.awaitDial(endpoint) // one that has never answered is not ejected
	n.endpoints.silence(endpoint)
	for range 2 {
		n.Kernel.fake.Track(kernel.Flow{Proto: state.TCP, To: dialled, By: endpoint})
	}
	n.Await(func(r *report.Round) bool { return r.Ejected > 0 })
}

// endpoints answer the connections by which the node probes them.
type endpoints struct {
	mu     sync.Mutex
	silent map[netip.AddrPort]bool
	dialed map[netip.AddrPort]chan struct{} // closed by the first connection that succeeds
}

func newEndpoints() *endpoints {
	return &endpoints{silent: map[netip.AddrPort]bool{}, dialed: map[netip.AddrPort]chan struct{}{}}
}

// dial is eject.Dial.
func (e *endpoints) dial(ctx context.Context, at netip.AddrPort) error {
	e.mu.Lock()
	silent, first := e.silent[at], e.first(at)
	if !silent {
		select {
		case <-first:
		default:
			close(first)
		}
	}
	e.mu.Unlock()
	if !silent {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// first returns the channel of dialed. The caller has the lock.
func (e *endpoints) first(at netip.AddrPort) chan struct{} {
	if e.dialed[at] == nil {
		e.dialed[at] = make(chan struct{})
	}
	return e.dialed[at]
}

func (e *endpoints) awaitDial(at netip.AddrPort) {
	e.mu.Lock()
	first := e.first(at)
	e.mu.Unlock()
	<-first
}

func (e *endpoints) silence(at netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silent[at] = true
}
