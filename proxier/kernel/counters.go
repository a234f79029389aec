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

// Counted has the traffic of a virtual or real server since it was added, and its present
// connections; of a real server also its weight and limit, as in state.Spec.
type Counted struct {
	ipvs.Stats
	Active, Inactive uint64
	Weight, Upper    uint32
}

// Load returns the counts of a real server as a state.Load.
func (c *Counted) Load(real state.ID) state.Load {
	return state.Load{Real: real, Weight: c.Weight, Upper: c.Upper, Active: uint32(c.Active), Inactive: uint32(c.Inactive), Began: c.Connections}
}

// runEstimation makes the kernel sum up the counters of its CPUs (Linux 5.16).
const runEstimation = "net/ipv4/vs/run_estimation"

// errNotSummed means that all counters stand still.
var errNotSummed = errors.New("the kernel does not sum up the counters of IPVS: the sysctl net.ipv4.vs.run_estimation is 0, and must be 1")

// ServerCounts returns the counts of kube-ipvs's virtual servers. It costs one dump and one
// reading of the table in /proc. It fails if the kernel does not update the counters.
func (v *View) ServerCounts() (map[state.ID]Counted, error) {
	if err := v.openServers(); err != nil {
		return nil, err
	}
	if run, err := netutil.ReadSysctl(runEstimation); err == nil && run == "0" {
		return nil, errNotSummed
	}
	out, ours := map[state.ID]Counted{}, map[state.ID]bool{}
	err := v.ipvs.EachService(func(s moby.Service, stats ipvs.Stats) {
		if s.Flags&state.FlagOurs != 0 && s.FWMark == 0 {
			id := serverID(ipvs.KeyOf(&s))
			out[id], ours[id] = Counted{Stats: stats}, true
		}
	})
	if err != nil {
		return nil, err
	}
	err = eachReal(v.ipvs, ours, true, func(server state.ID, d ipvs.Dest) {
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

// RealServerCounts returns the counts of the real servers of one virtual server; none if
// the kernel does not have it. It costs one dump.
func (v *View) RealServerCounts(server state.ID) (map[state.ID]Counted, error) {
	if err := v.openServers(); err != nil {
		return nil, err
	}
	dests, err := v.ipvs.Destinations(named(server))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("read the counters of %s: %w", server, err)
	}
	out := make(map[state.ID]Counted, len(dests))
	for _, d := range dests {
		out[state.RealServerID(server, d.Addr)] = Counted{d.Stats, uint64(d.Active), uint64(d.Inactive), d.Weight, d.Upper}
	}
	return out, nil
}

// OpenConnections calls each with the protocol and the dialled address of every open
// connection in conntrack.
func (v *View) OpenConnections(each func(state.Protocol, netip.AddrPort)) error {
	if err := opened(v, &v.conntrack, netutil.OpenConntrack); err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	for _, family := range v.families() {
		err := v.conntrack.Open(family, func(proto uint8, to netip.AddrPort) { each(state.Protocol(proto), to) })
		if err != nil {
			return err
		}
	}
	return nil
}
