package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

// Traffic reads what IPVS counts. It has a socket of its own, so that reading
// never keeps the writer waiting. Only one goroutine may use it at a time.
type Traffic struct{ ipvs *ipvs.Client }

// Counted is what a virtual or real server has had since it was added, and
// the connections that it has now.
type Counted struct {
	ipvs.Stats
	Active, Inactive uint64
}

// OpenTraffic opens the socket.
func OpenTraffic() (*Traffic, error) {
	c, err := ipvs.Open()
	if err != nil {
		return nil, err
	}
	return &Traffic{c}, nil
}

// Close closes the socket.
func (t *Traffic) Close() error { return t.ipvs.Close() }

// runEstimation has the kernel sum up what each CPU has counted, since Linux 5.16.
const runEstimation = "net/ipv4/vs/run_estimation"

// errNotSummed means that all counters stand still, however much traffic there is.
var errNotSummed = errors.New("the kernel does not sum up the counters of IPVS: the sysctl net.ipv4.vs.run_estimation is 0, and is to be 1")

// Servers returns the counts of our virtual servers. It costs one dump and one
// reading of the table in /proc. It is an error where the kernel does not bring them
// up to date.
func (t *Traffic) Servers() (map[state.ID]Counted, error) {
	if run, err := netutil.ReadSysctl(runEstimation); err == nil && run == "0" {
		return nil, errNotSummed
	}
	out, ours := map[state.ID]Counted{}, map[state.ID]bool{}
	err := t.ipvs.EachService(func(s moby.Service, stats ipvs.Stats) {
		if s.Flags&state.FlagOurs != 0 && s.FWMark == 0 {
			id := serverID(ipvs.KeyOf(&s))
			out[id], ours[id] = Counted{Stats: stats}, true
		}
	})
	if err != nil {
		return nil, err
	}
	err = eachReal(t.ipvs, ours, true, func(server state.ID, d ipvs.Dest) {
		c := out[server]
		c.Active += uint64(d.Active)
		c.Inactive += uint64(d.Inactive)
		out[server] = c
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RealServers returns the counts of the real servers of one virtual server,
// none if that is gone. It costs one dump.
func (t *Traffic) RealServers(server state.ID) (map[state.ID]Counted, error) {
	dests, err := t.ipvs.Destinations(named(server))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("read the counters of %s: %w", server, err)
	}
	out := make(map[state.ID]Counted, len(dests))
	for _, d := range dests {
		out[state.RealServerID(server, d.Addr)] = Counted{d.Stats, uint64(d.Active), uint64(d.Inactive)}
	}
	return out, nil
}

// OpenFlows calls each with the protocol of every open connection that
// conntrack knows, and with what its client dialled. It lists all of them.
func OpenFlows(ipv6 bool, each func(state.Protocol, netip.AddrPort)) error {
	c, err := netutil.OpenConntrack()
	if err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	defer c.Close()
	families := []int{4}
	if ipv6 {
		families = append(families, 6)
	}
	for _, family := range families {
		if err := c.Open(family, func(proto uint8, to netip.AddrPort) { each(state.Protocol(proto), to) }); err != nil {
			return err
		}
	}
	return nil
}
