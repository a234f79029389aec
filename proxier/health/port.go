package health

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// port answers at one address and port.
type port struct {
	check    atomic.Pointer[report.HealthCheck] // the Service for which it answers
	family   state.Family                       // of its address
	healthy  func() bool
	listener net.Listener
	server   *http.Server

	mu  sync.Mutex
	err error // why the server ended
}

func (p *Ports) serve(ln net.Listener, at netip.Addr, c report.HealthCheck) *port {
	l := &port{family: state.FamilyOf(at), healthy: p.config.Healthy, listener: ln}
	l.check.Store(&c)
	l.server = newServer(l, p.crowd, p.config.Log)
	p.servers.Go(func() {
		if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.mu.Lock()
			l.err = err
			l.mu.Unlock()
			p.wake()
		}
	})
	return l
}

// close frees the address before it returns.
func (l *port) close() {
	_ = l.server.Close()
	_ = l.listener.Close() // the server does not know it if it has not begun
}

func (l *port) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// ServeHTTP answers any request: 200 if the Service has an endpoint on this node in the
// family of the address and the proxy keeps up, else 503.
func (l *port) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c := l.check.Load()
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	local, healthy := c.Local[l.family], l.healthy()
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
	reply(w, local > 0 && healthy, struct {
		Service             service `json:"service"`
		LocalEndpoints      int     `json:"localEndpoints"`
		ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
	}{service{c.Key.Namespace, c.Key.Name}, local, healthy})
}

// reason returns the system's error without the address, which the caller names.
func reason(err error) error {
	if s := (*os.SyscallError)(nil); errors.As(err, &s) {
		return s.Err
	}
	return err
}

// where returns the addresses to listen at.
func (p *Ports) where(prefixes []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, family := range p.families() {
		of := ofFamily(prefixes, family)
		if matchAll(of) || !p.known {
			out = append(out, family.Unspecified()) // not known: all addresses answer, as with kube-proxy
			continue
		}
		for _, a := range p.addresses {
			a = a.Unmap().WithZone("")
			// A link-local address exists once a link, and no load balancer has it.
			if !a.IsLinkLocalUnicast() && slices.ContainsFunc(of, func(q netip.Prefix) bool { return q.Contains(a) }) {
				out = append(out, a)
			}
		}
	}
	return out
}

func (p *Ports) families() []state.Family { return state.Families(p.config.IPv6) }

func ofFamily(prefixes []netip.Prefix, family state.Family) (of []netip.Prefix) {
	for _, q := range prefixes {
		if state.FamilyOf(q.Addr()) == family {
			of = append(of, q)
		}
	}
	return of
}

func matchAll(of []netip.Prefix) bool {
	return len(of) == 0 || slices.ContainsFunc(of, func(q netip.Prefix) bool { return q.Bits() == 0 })
}

// readAddresses lists the node's addresses if they matter and may have changed. It returns
// the time of its next call; zero: none.
func (p *Ports) readAddresses(prefixes []netip.Prefix) (again time.Time) {
	if !slices.ContainsFunc(p.families(), func(f state.Family) bool { return !matchAll(ofFamily(prefixes, f)) }) {
		return time.Time{}
	}
	p.mu.Lock()
	refresh := p.refresh
	p.mu.Unlock()
	switch {
	case !refresh && p.known:
		return time.Time{}
	case time.Now().Before(p.addressesAt):
		return p.addressesAt
	}
	p.mu.Lock()
	p.refresh = false
	p.mu.Unlock()
	p.addressesAt = time.Now().Add(addressesEvery)
	addrs, err := p.config.Addresses()
	if err != nil {
		if !p.told {
			p.config.Log.Warn("the node's addresses cannot be read; health-check node ports stay at the known addresses, or at all", "err", err)
		}
		p.told = true
		p.Refresh() // Run lists them again at addressesAt
		return p.addressesAt
	}
	p.addresses, p.known, p.told = addrs, true, false
	return time.Time{}
}
