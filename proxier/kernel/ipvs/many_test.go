package ipvs

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// address returns the n-th address of a network, of which each family has one.
func address(family uint16, network byte, n int) net.IP {
	ip := net.IP{10, network, byte(n >> 8), byte(n)}
	if family == unix.AF_INET6 {
		ip = append(net.IP{0xfd, network, 13: 0}, byte(n>>8), byte(n))
	}
	return ip
}

// many returns the virtual servers and real servers of a big cluster, half of
// them IPv6.
func many(n, dests int) (all []*moby.Service, to [][]*moby.Destination) {
	for i := range n {
		s := &moby.Service{AddressFamily: unix.AF_INET, Protocol: 6, Port: 80, SchedName: "rr", Flags: 0x20, Netmask: 0xffffffff}
		if i%2 == 1 {
			s.AddressFamily, s.Netmask = unix.AF_INET6, 128
		}
		s.Address = address(s.AddressFamily, 96, i)
		var d []*moby.Destination
		for j := range dests {
			a := address(s.AddressFamily, 244, i*dests+j)
			d = append(d, &moby.Destination{Address: a, AddressFamily: s.AddressFamily, Port: 8080, Weight: 1 + j})
		}
		all, to = append(all, s), append(to, d)
	}
	return all, to
}

// Thousands at once, read back in three ways.
func TestMany(t *testing.T) {
	c := isolated(t)
	const n, dests = 2000, 5
	all, to := many(n, dests)
	clock := func(what string, per int, f func()) { timed(t, c, what, per, f) }
	clock("new services", n, func() {
		exec(t, c, func(b *netutil.Batch) {
			for _, s := range all {
				c.NewService(b, s)
			}
		})
	})
	perDest := func(f func(*netutil.Batch, *moby.Service, *moby.Destination)) func() {
		return func() {
			exec(t, c, func(b *netutil.Batch) {
				for i, s := range all {
					for _, d := range to[i] {
						f(b, s, d)
					}
				}
			})
		}
	}
	clock("new destinations", n*dests, perDest(c.NewDest))
	clock("set destinations", n*dests, perDest(c.SetDest))

	want, wantTable := expect(all, to)
	var got map[ServiceKey]moby.Service
	clock("Services", n, func() { got = services(t, c) })
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("Services: %.2000s", diff)
	}
	var table map[ServiceKey][]Dest
	clock("ReadTable", n, func() { table = readTable(t) })
	compareTables(t, "ReadTable", wantTable, table)
	clock("compare with moby's Handle", n, func() { compareMoby(t, want, wantTable) })
	byDetail := map[ServiceKey][]Dest{}
	clock("Destinations of each", n, func() {
		for _, s := range all {
			details, err := c.Destinations(s)
			must(t, err)
			for _, d := range details {
				byDetail[KeyOf(s)] = append(byDetail[KeyOf(s)], d.Dest)
			}
		}
	})
	compareTables(t, "Destinations", wantTable, byDetail)

	clock("delete destinations", n*dests, perDest(c.DelDest))
	clock("delete services", n, func() {
		exec(t, c, func(b *netutil.Batch) {
			for _, s := range all {
				c.DelService(b, s)
			}
		})
	})
	if got := readTable(t); len(got) != 0 {
		t.Errorf("%d services left", len(got))
	}
}

// The same requests each in a system call of its own.
func TestOneByOne(t *testing.T) {
	c := isolated(t)
	const n = 200
	all, _ := many(n, 0)
	timed(t, c, "new services one by one", n, func() {
		for _, s := range all {
			exec(t, c, func(b *netutil.Batch) { c.NewService(b, s) })
		}
	})
	timed(t, c, "set services one by one", n, func() {
		for _, s := range all {
			exec(t, c, func(b *netutil.Batch) { c.SetService(b, s) })
		}
	})
	timed(t, c, "set services", n, func() {
		exec(t, c, func(b *netutil.Batch) {
			for _, s := range all {
				c.SetService(b, s)
			}
		})
	})
}

// timed logs what f costs.
func timed(t *testing.T, c *Client, what string, per int, f func()) {
	before, start := c.Stats(), time.Now()
	f()
	d := time.Since(start)
	t.Logf("%-28s %10v, %v each, %d sends", what, d.Round(time.Microsecond), (d / time.Duration(per)).Round(100), c.Stats().Sends-before.Sends)
}

// expect returns what is to be read after all was added.
func expect(all []*moby.Service, to [][]*moby.Destination) (map[ServiceKey]moby.Service, map[ServiceKey][]Dest) {
	services, table := map[ServiceKey]moby.Service{}, map[ServiceKey][]Dest{}
	for i, s := range all {
		k := KeyOf(s)
		services[k] = *s
		for _, d := range to[i] {
			a, _ := netip.AddrFromSlice(d.Address)
			table[k] = append(table[k], Dest{Addr: netip.AddrPortFrom(a, d.Port), Weight: uint32(d.Weight)})
		}
	}
	return services, table
}

func compareTables(t *testing.T, what string, want, got map[ServiceKey][]Dest) {
	t.Helper()
	for _, all := range []map[ServiceKey][]Dest{want, got} {
		for _, dests := range all {
			slices.SortFunc(dests, func(a, b Dest) int { return a.Addr.Compare(b.Addr) })
		}
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("%s: %.2000s", what, diff)
	}
}

// compareMoby reads with the library, which is slow but independent.
func compareMoby(t *testing.T, want map[ServiceKey]moby.Service, wantTable map[ServiceKey][]Dest) {
	h, err := moby.New("")
	must(t, err)
	defer h.Close()
	all, err := h.GetServices()
	must(t, err)
	got := map[ServiceKey]moby.Service{}
	table := map[ServiceKey][]Dest{}
	for _, s := range all {
		k := KeyOf(s)
		dests, err := h.GetDestinations(s)
		must(t, err)
		for _, d := range dests {
			a, _ := netip.AddrFromSlice(d.Address)
			table[k] = append(table[k], Dest{Addr: netip.AddrPortFrom(a, d.Port), Weight: uint32(d.Weight)})
		}
		s.Flags &^= hashed
		s.Stats = moby.SvcStats{}
		got[k] = *s
	}
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("moby's services: %.2000s", diff)
	}
	compareTables(t, "moby's destinations", wantTable, table)
}
