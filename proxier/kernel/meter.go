package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Meter reads how full the kernel's tables are and what it refuses. It has a
// socket of its own, so that reading never keeps the writer waiting. Only one
// goroutine may use it at a time.
type Meter struct {
	ipset    *ipset.Client
	families []netip.Addr
}

// OpenMeter opens the socket.
func OpenMeter(ipv6 bool) (*Meter, error) {
	c, err := ipset.Open()
	if err != nil {
		return nil, err
	}
	m := &Meter{c, []netip.Addr{state.IPv4}}
	if ipv6 {
		m.families = append(m.families, state.IPv6)
	}
	return m, nil
}

// Close closes the socket.
func (m *Meter) Close() error { return m.ipset.Close() }

// Fill is how many entries a table has and how many it can have; 0: no limit.
type Fill struct{ Entries, Limit uint64 }

// Conntrack returns the fill of the table of tracked connections of this
// network namespace. The limit is one for all namespaces.
func (m *Meter) Conntrack() (Fill, error) {
	const path = "net/netfilter/nf_conntrack_"
	entries, err := sysctlNumber(path + "count")
	if err != nil {
		return Fill{}, err
	}
	limit, err := sysctlNumber(path + "max")
	return Fill{entries, limit}, err
}

func sysctlNumber(sysctl string) (uint64, error) {
	text, err := netutil.ReadSysctl(sysctl)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", sysctl, err)
	}
	return n, nil
}

// Sets returns the fill of each of our sets that is there. It asks for each of
// them alone: others may have thousands.
func (m *Meter) Sets() (map[state.ID]Fill, error) {
	out := map[state.ID]Fill{}
	for _, family := range m.families {
		for _, name := range state.SetNames() {
			set, err := m.ipset.Set(name.Kernel(family))
			if errors.Is(err, ipset.ErrNotFound) {
				continue // not made yet
			}
			if err != nil {
				return nil, err
			}
			out[state.SetID(name, family)] = Fill{uint64(set.Entries), uint64(set.MaxEntries)}
		}
	}
	return out, nil
}

// Refused hands each entry that refuses a frontend to each, with the packets
// that it has refused since it was made: of a flow that is never established,
// all of them. A set that an older version has made counts none.
func (m *Meter) Refused(each func(entry state.ID, packets uint64)) error {
	for _, family := range m.families {
		for _, name := range state.SetNames() {
			if !name.Refuses() {
				continue
			}
			err := m.ipset.List(name.Kernel(family), func(e ipset.Entry) { each(entryID(name, e), e.Packets) })
			if err != nil && !errors.Is(err, ipset.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
