package health

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// PortsConfig configures Ports. Each field but IPv6 and Changed must be set.
type PortsConfig struct {
	Addresses func() ([]netip.Addr, error) // lists the node's addresses; Run calls it if not all of them serve node ports
	IPv6      bool                         // the node has IPv6
	Healthy   func() bool                  // Health.Healthy
	Changed   func()                       // Run calls it after ListenProblems has changed; may be nil
	Log       *slog.Logger
}

// Delays before the next try to open a port, and before the next list of addresses.
const (
	retryFirst     = time.Second
	retryLast      = 30 * time.Second
	addressesEvery = 2 * time.Second // the cost of a list grows with the addresses of the node
	mostPortConns  = 512             // connections to all ports together
)

// Ports answers load balancers at the health-check node ports of Services. Run is its one
// goroutine; any goroutine may call its other methods.
type Ports struct {
	config PortsConfig
	listen func(ctx context.Context, network, addr string) (net.Listener, error)
	poke   chan struct{} // wakes Run; holds one
	crowd  *crowd        // of all ports together: tenants decide how many ports there are

	mu       sync.Mutex
	checks   []report.HealthCheck
	prefixes []netip.Prefix // node addresses that serve node ports; a family without a prefix: all
	refresh  bool           // the node's addresses may have changed
	problems []model.Problem

	// Of Run alone.
	open        map[netip.AddrPort]*port
	tries       map[netip.AddrPort]*try
	owners      map[uint16]model.Key
	addresses   []netip.Addr
	known       bool      // addresses have been read
	addressesAt time.Time // when they may be read again
	told        bool      // the failure to read them is logged
	servers     sync.WaitGroup
}

// try is a port that could not be opened.
type try struct {
	err   error
	at    time.Time // when it is tried again
	delay time.Duration
}

// NewPorts returns a Ports without open ports.
func NewPorts(c PortsConfig) *Ports {
	return &Ports{
		config: c, listen: new(net.ListenConfig).Listen, poke: make(chan struct{}, 1), refresh: true, crowd: newCrowd(mostPortConns, c.Log),
		open: map[netip.AddrPort]*port{}, tries: map[netip.AddrPort]*try{}, owners: map[uint16]model.Key{},
	}
}

// Observe takes the checks of a round, and the addresses that serve node ports. It does not
// block.
func (p *Ports) Observe(r *report.Round) {
	if r.Err != nil {
		return
	}
	p.mu.Lock()
	same := slices.Equal(p.checks, r.Checks) && slices.Equal(p.prefixes, r.NodePort)
	p.checks, p.prefixes = r.Checks, r.NodePort
	p.mu.Unlock()
	if !same {
		p.wake()
	}
}

// Refresh makes Run list the node's addresses again. It does not block.
func (p *Ports) Refresh() {
	p.mu.Lock()
	p.refresh = true
	p.mu.Unlock()
	p.wake()
}

// ListenProblems returns the problems of ports that are not open, sorted. Run tries these
// ports again until they are. The list never changes, and callers must not change it.
func (p *Ports) ListenProblems() []model.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problems
}

func (p *Ports) wake() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// Run keeps the ports open until ctx ends. When it returns they are closed.
func (p *Ports) Run(ctx context.Context) {
	defer func() {
		for _, l := range p.open {
			l.close()
		}
		p.servers.Wait()
	}()
	for ctx.Err() == nil {
		p.wait(ctx, p.sync(ctx))
	}
}

func (p *Ports) wait(ctx context.Context, at time.Time) {
	var due <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-p.poke:
	case <-due:
	}
}

// sync opens and closes ports as the checks ask. It returns the time of its next call; zero:
// when Run is woken.
func (p *Ports) sync(ctx context.Context) time.Time {
	p.mu.Lock()
	checks, prefixes := p.checks, p.prefixes
	p.mu.Unlock()
	owned, problems := p.own(checks)
	want := map[netip.AddrPort]report.HealthCheck{}
	var again time.Time
	if len(owned) > 0 {
		again = p.readAddresses(prefixes)
		for _, a := range p.where(prefixes) {
			for _, c := range owned {
				want[netip.AddrPortFrom(a, c.Port)] = c
			}
		}
	}
	p.closeOthers(want)
	again = pace.Earliest(again, p.openAll(ctx, want))
	for at, t := range p.tries {
		problems = append(problems, problem(want[at], fmt.Sprintf(
			"load balancers get no answer at %s: %v; it is tried again", at, t.err)))
	}
	slices.SortFunc(problems, func(a, b model.Problem) int { return cmp.Compare(a.String(), b.String()) })
	p.mu.Lock()
	changed := !slices.Equal(p.problems, problems)
	if changed {
		p.problems = problems
	}
	p.mu.Unlock()
	if changed && p.config.Changed != nil {
		p.config.Changed()
	}
	return again
}

// own returns the checks that own their port, and the problems of the others. A Service
// keeps the port that it has; a free one goes to the first by name.
func (p *Ports) own(checks []report.HealthCheck) ([]report.HealthCheck, []model.Problem) {
	byPort := map[uint16]report.HealthCheck{}
	for _, c := range checks {
		if _, taken := byPort[c.Port]; !taken || p.owners[c.Port] == c.Key {
			byPort[c.Port] = c
		}
	}
	clear(p.owners)
	var owned []report.HealthCheck
	var problems []model.Problem
	for _, c := range checks {
		by := byPort[c.Port].Key
		p.owners[c.Port] = by
		if by == c.Key {
			owned = append(owned, c)
			continue
		}
		whose := "a Service in another namespace" // whose name this Service's users must not learn
		if by.Namespace == c.Key.Namespace {
			whose = "Service " + by.String()
		}
		pr := problem(c, fmt.Sprintf("%s has port %d too: kube-ipvs answers for that Service only", whose, c.Port))
		if !slices.Contains(p.problems, pr) { // only Run changes them
			p.config.Log.Warn("health-check node port is another Service's", "service", c.Key, "port", c.Port, "owner", by)
		}
		problems = append(problems, pr)
	}
	return owned, problems
}

func problem(c report.HealthCheck, message string) model.Problem {
	return model.Problem{UID: c.UID, Object: "Service " + c.Key.String(), Field: "spec.healthCheckNodePort", Message: message}
}

// closeOthers closes ports that are not wanted or have failed. It comes before openAll, since
// a new port may need the address of an old one.
func (p *Ports) closeOthers(want map[netip.AddrPort]report.HealthCheck) {
	for at, l := range p.open {
		err := l.failed()
		if _, ok := want[at]; ok && err == nil {
			continue
		}
		l.close()
		delete(p.open, at)
		if err != nil {
			p.config.Log.Warn("health-check node port failed; it is opened again", "address", at, "err", err)
			p.tries[at] = &try{err: reason(err), at: time.Now().Add(retryFirst), delay: retryFirst}
		}
	}
	for at := range p.tries {
		if _, ok := want[at]; !ok {
			delete(p.tries, at)
		}
	}
}

// openAll opens the wanted ports that are not open. It returns the time of the next try for
// those that could not be opened; zero: none.
func (p *Ports) openAll(ctx context.Context, want map[netip.AddrPort]report.HealthCheck) (again time.Time) {
	for at, c := range want {
		if l := p.open[at]; l != nil {
			l.check.Store(&c) // a port that goes from one Service to another is never closed
			continue
		}
		t := p.tries[at]
		if t != nil && time.Now().Before(t.at) {
			again = pace.Earliest(again, t.at)
			continue
		}
		ln, err := p.listen(ctx, state.FamilyOf(at.Addr()).Network("tcp"), at.String()) // by "tcp", a listener at :: would take IPv4 too
		if err == nil {
			p.open[at] = p.serve(ln, at.Addr(), c)
			if delete(p.tries, at); t != nil {
				p.config.Log.Info("health-check node port is open", "service", c.Key, "address", at)
			}
			continue
		}
		if t == nil {
			t = &try{}
			p.tries[at] = t
			p.config.Log.Warn("health-check node port cannot be opened; it is tried again", "service", c.Key, "address", at, "err", err)
		}
		t.err, t.delay = reason(err), min(max(2*t.delay, retryFirst), retryLast)
		t.at = time.Now().Add(t.delay)
		again = pace.Earliest(again, t.at)
	}
	return again
}
