package wire

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/testbed"
)

// sources is how many addresses a client sends from, for sh looks at nothing
// else, and asks how often it asks from each.
const (
	sources = 8
	asks    = 2
)

// spreadOut gives c1 and ext more addresses to send from, and returns clients
// that use them: c1 over IPv4 to the ClusterIP, ext over IPv6 to the node port.
func spreadOut(t *testing.T) func(s testbed.Service, network string) []request {
	t.Helper()
	var c1, ext []netip.Addr
	add := func(h *testbed.Host, ip string, bits int) netip.Addr {
		a := netip.MustParseAddr(ip)
		on(t, h, fmt.Sprintf("ip addr add %s/%d dev eth0 nodad", a, bits))
		undo(t, h, fmt.Sprintf("ip addr del %s/%d dev eth0", a, bits))
		return a
	}
	for i := range sources {
		c1 = append(c1, add(bed.C1, fmt.Sprintf("10.244.0.%d", 128+i), 32))
		ext = append(ext, add(bed.Ext, fmt.Sprintf("fd50::a:%d", i), 64))
	}
	on(t, bed.Node, "ip route add 10.244.0.128/25 dev vc1")
	undo(t, bed.Node, "ip route del 10.244.0.128/25 dev vc1")
	return func(s testbed.Service, network string) []request {
		var out []request
		for i := range sources {
			out = append(out, request{bed.C1, network, s.ClusterIP().V4, testbed.From{Addr: c1[i]}},
				request{bed.Ext, network, s.NodePort().V6, testbed.From{Addr: ext[i]}})
		}
		return out
	}
}

// schedulersHere returns those that this kernel has.
func schedulersHere(t *testing.T) []string {
	t.Helper()
	var have []string
	for _, name := range state.Schedulers {
		if _, err := bed.Node.Shell(t.Context(), "ipvsadm -A -t 192.0.2.9:9 -s "+name+" && ipvsadm -D -t 192.0.2.9:9"); err == nil {
			have = append(have, name)
		} else {
			t.Logf("this kernel has no scheduler %s: it is not tested", name)
		}
	}
	return have
}

// TestLeaving has an endpoint leave in every way, with every scheduler: no new
// connection may fail, however a scheduler treats real servers of weight 0.
func TestLeaving(t *testing.T) {
	names := schedulersHere(t)
	clients := spreadOut(t)
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		var all []testbed.Service
		for i, name := range names {
			all = append(all, testbed.Service{Name: "with-" + name, Number: 1 + i, Type: "NodePort", Annotations: "kube-ipvs/scheduler: " + name})
		}
		again := func(t *testing.T, d *testbed.Daemon) { restart(t, d) }
		leaving := func(first, second string) []testbed.Backend {
			return []testbed.Backend{{Host: bed.P1, State: first}, {Host: bed.P2, State: second}}
		}
		for _, step := range []struct {
			name     string
			backends []testbed.Backend // nil: as before
			then     func(*testing.T, *testbed.Daemon)
			answer   string // the endpoint that may; all: either
		}{
			{"both", leaving("", ""), nil, "p1 p2"},
			{"first unready", leaving("unready", ""), nil, "p2"},
			{"come back", leaving("", ""), nil, "p1 p2"},
			{"first terminating", leaving("terminating", ""), nil, "p2"},
			{"restart", nil, again, "p2"},
			{"upgrade", nil, func(t *testing.T, d *testbed.Daemon) { forgetFlags(t, "", "-b flag-3"); restart(t, d) }, "p2"},
			{"take-over", nil, takeOver, "p2"},
			{"first dead", leaving("dead", ""), nil, "p2"},
			{"second terminating", leaving("", "terminating"), nil, "p1"},
			{"second removed", testbed.Backends(bed.P1), nil, "p1"},
			{"first removed", testbed.Backends(bed.P2), nil, "p2"},
			{"restart while it drains", nil, again, "p2"},
			{"all back", leaving("", ""), nil, "p1 p2"},
		} {
			t.Run(step.name, func(t *testing.T) {
				if step.backends != nil {
					serve(t, d, step.backends, all...)
				}
				if step.then != nil {
					step.then(t, d)
				}
				noneBehind(t, "dh")
				var wg sync.WaitGroup
				for _, s := range all {
					wg.Go(func() { noneFails(t, s, clients, step.answer) })
				}
				wg.Wait()
			})
		}
	})
}

func restart(t *testing.T, d *testbed.Daemon, flags ...string) {
	t.Helper()
	if err := d.RestartWith(flags...); err != nil {
		t.Fatal(err)
	}
	settled(t, d)
}

// takeOver has the virtual servers at ClusterIPs stand as kube-proxy makes them,
// and starts the daemon over them. Behind images none of its can be.
func takeOver(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	if strings.HasSuffix(t.Name(), "image/take-over") {
		t.Skip("kube-proxy has no images")
	}
	restart(t, d, "--vip-binding", "address") // kube-proxy's stand at addresses of kube-ipvs0
	forgetFlags(t, "10.96.", "")
	forgetFlags(t, "[fd96::", "")
	restart(t, d, "--takeover")
}

// forgetFlags has virtual servers at addresses that begin so stand as others
// left them: without the flags that schedulers read, and with those of
// ipvsadm's options.
func forgetFlags(t *testing.T, at, options string) {
	t.Helper()
	var script strings.Builder
	for line := range strings.Lines(on(t, bed.Node, "ipvsadm -Sn")) {
		if f := strings.Fields(line); len(f) >= 5 && f[0] == "-A" && strings.HasPrefix(f[2], at) {
			fmt.Fprintf(&script, "ipvsadm -E %s %s -s %s %s\n", f[1], f[2], f[4], options)
		}
	}
	if script.Len() == 0 {
		t.Fatal("there is no virtual server")
	}
	on(t, bed.Node, script.String())
}

// noneBehind checks that no virtual server with the scheduler has a real server
// of weight 0.
func noneBehind(t *testing.T, scheduler string) {
	t.Helper()
	with := map[string]bool{}
	for line := range strings.Lines(on(t, bed.Node, "ipvsadm -Sn")) {
		f := strings.Fields(line)
		if len(f) >= 5 && f[0] == "-A" && f[4] == scheduler {
			with[f[1]+f[2]] = true
		}
		if len(f) >= 3 && f[0] == "-a" && with[f[1]+f[2]] && strings.HasSuffix(strings.TrimSpace(line), "-w 0") {
			t.Errorf("weight 0 with %s: %s", scheduler, line)
		}
	}
}

// freshPorts counts the ports from firstFreshPort on that noneFails has sent from.
var freshPorts atomic.Uint32

const firstFreshPort = 10000

// noneFails asks from everywhere, over and over.
func noneFails(t *testing.T, s testbed.Service, clients func(testbed.Service, string) []request, names string) {
	failed, asked := 0, 0
	said := ""
	for _, network := range networks {
		for _, r := range clients(s, network) {
			for range asks {
				// Each from a port of its own: one that comes up again has its flow of before.
				r.with.Port = uint16(firstFreshPort + freshPorts.Add(1))
				got := testbed.Outcome(r.from.Ask(context.WithoutCancel(t.Context()), r.network, r.to, r.with))
				asked++
				if !strings.Contains(" "+names+" ", " "+got+" ") {
					failed++
					said = fmt.Sprintf("%s from %s: %s", r, r.with.Addr, got)
				}
			}
		}
	}
	if failed > 0 {
		t.Errorf("%s: %d of %d new connections did not get to %s, such as %s", s.Name, failed, asked, names, said)
	}
}
