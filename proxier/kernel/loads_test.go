package kernel

import (
	"maps"
	"net"
	"net/netip"
	"testing"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// TestLoads holds connections and ends some: Loads tells of them, of the weights, and of
// the real servers of that virtual server alone.
func TestLoads(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		linux := openLinux(t, netutil.NFT)
		defer linux.Close()
		sh(t, "ip addr add 10.96.0.10/32 dev lo; ip addr add 10.244.0.11/32 dev lo")
		server := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:80"))
		other := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:81"))
		endpoint, idle := netip.MustParseAddrPort("10.244.0.11:8080"), netip.MustParseAddrPort("10.244.0.12:8080")
		rr := state.Intern(state.Spec{Scheduler: "wrr", Flags: state.FlagOurs})
		plan := state.Plan{
			{Verb: state.Add, ID: server, Spec: rr, Old: state.None}, {Verb: state.Add, ID: other, Spec: rr, Old: state.None},
			{Verb: state.Add, ID: state.RealServerID(server, endpoint), Spec: state.Serving(2, 9), Old: state.None},
			{Verb: state.Add, ID: state.RealServerID(server, idle), Spec: state.Weight(0), Old: state.None},
			{Verb: state.Add, ID: state.RealServerID(other, endpoint), Spec: state.Weight(1), Old: state.None},
		}
		if errs := linux.Apply(ctx, plan); errs != nil {
			t.Error(errs)
			return
		}
		clients := hold(t, endpoint, "10.96.0.10:80", 5)
		want := map[state.ID]state.Load{
			state.RealServerID(server, endpoint): {Real: state.RealServerID(server, endpoint), Weight: 4, Upper: 9, Active: 5, Began: 5},
			state.RealServerID(server, idle):     {Real: state.RealServerID(server, idle)},
		}
		becomes(t, linux, server, want)
		for _, c := range clients[:2] {
			_ = c.Close()
		}
		want[state.RealServerID(server, endpoint)] = state.Load{Real: state.RealServerID(server, endpoint), Weight: 4, Upper: 9, Active: 3, Inactive: 2, Began: 5}
		becomes(t, linux, server, want)
		becomes(t, linux, state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:82")), map[state.ID]state.Load{})
		for _, c := range clients[2:] {
			_ = c.Close()
		}
	})
}

// hold opens connections to an address behind which a listener ends those that the client
// has ended.
func hold(t *testing.T, endpoint netip.AddrPort, to string, n int) (clients []net.Conn) {
	l, err := net.Listen("tcp", endpoint.String())
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}()
		}
	}()
	for range n {
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			continue
		}
		clients = append(clients, c)
	}
	return clients
}

// becomes waits for what Loads returns. The kernel sums connections every two seconds.
func becomes(t *testing.T, k Kernel, server state.ID, want map[state.ID]state.Load) {
	t.Helper()
	got := map[state.ID]state.Load{}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		loads, err := k.Loads(ctx, server)
		if err != nil {
			t.Error(err)
			return
		}
		clear(got)
		for _, l := range loads {
			got[l.Real] = l
		}
		if maps.Equal(got, want) {
			return
		}
	}
	t.Errorf("%+v, want %+v", got, want)
}
