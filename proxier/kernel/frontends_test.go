package kernel

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// TestFrontendsAndServers compares a View with the same part of a full reading, after each
// write, and beside objects of other programs.
func TestFrontendsAndServers(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		view := NewView(true)
		defer view.Close()
		foreign := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.99:80"))
		sh(t, "ip link set lo up; ipvsadm -A -t 10.96.0.99:80 -s rr; ipvsadm -a -t 10.96.0.99:80 -r 10.244.0.99:80 -m")
		rapid.Check(t, func(t *rapid.T) {
			linux := openLinux(t, netutil.NFT)
			defer linux.Close()
			defer empty(t, linux)
			for range 6 {
				var plan state.Plan
				for range rapid.IntRange(1, 8).Draw(t, "ops") {
					plan = append(plan, drawOp(t))
				}
				_ = linux.Apply(ctx, plan)
			}
			read, err := linux.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want, asked := &state.State{}, []state.ID{foreign}
			for id, spec := range read.All() {
				switch {
				case id.Kind == state.VirtualServer:
					asked = append(asked, id)
					want.Put(id, spec)
				case id.Kind == state.RealServer, id.Kind == state.Entry && id.Set != state.SetVIPs && id.Set != state.SetHealth && id.Set != state.SetHairpin && id.Set != state.SetSourceAllowed:
					want.Put(id, spec)
				}
			}
			asked = append(asked, state.VirtualServerID(state.UDP, netip.MustParseAddrPort("10.96.0.98:80"))) // which is not there
			if diff := cmp.Diff(comparable(want), comparable(readParts(t, view, asked))); diff != "" {
				t.Fatalf("(-read +parts):\n%s", diff)
			}
		})
	})
}

// readParts reads the frontends and some virtual servers, and wants each object
// once.
func readParts(t *rapid.T, v *View, servers []state.ID) *state.State {
	out := &state.State{}
	note := func(id state.ID, spec state.SpecRef) {
		if out.Has(id) {
			t.Fatalf("%s was read twice", id)
		}
		out.Put(id, spec)
	}
	if err := v.Frontends(ctx, note); err != nil {
		t.Fatal(err)
	}
	err := v.Servers(ctx, servers, func(id state.ID, spec state.SpecRef, active, inactive uint32) {
		if active != 0 || inactive != 0 {
			t.Fatalf("%s has %d and %d connections", id, active, inactive)
		}
		note(id, spec)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEachReal wants every real server of ours once, and none of others, where another
// network namespace has virtual servers, too: older kernels leave some out of
// /proc/net/ip_vs then.
func TestEachReal(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		serve(t, "10.244.0.10:8080")
		inNetns(t, func() {
			want := serve(t, "10.244.0.11:8080")
			sh(t, "ipvsadm -A -t 10.97.0.1:80 -s rr; ipvsadm -a -t 10.97.0.1:80 -r 10.244.0.99:80 -m")
			view := NewView(true)
			defer view.Close()
			got := map[state.ID]int{}
			if err := view.EachReal(ctx, func(real state.ID, _, _ uint32) { got[real]++ }); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	})
}

// serve adds more virtual servers than the kernel prints at once, with a real server each,
// and returns how often each of these is to be told of.
func serve(t *testing.T, endpoint string) map[state.ID]int {
	linux := openLinux(t, netutil.NFT)
	defer linux.Close()
	var plan state.Plan
	once := map[state.ID]int{}
	for i := range 300 {
		server := state.VirtualServerID(state.TCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(i / 256), byte(i)}), 80))
		real := state.RealServerID(server, netip.MustParseAddrPort(endpoint))
		plan = append(plan, state.Op{Verb: state.Add, ID: server, Spec: state.Intern(state.Spec{Scheduler: "rr", Flags: state.FlagOurs}), Old: state.None},
			state.Op{Verb: state.Add, ID: real, Spec: state.Weight(1), Old: state.None})
		once[real] = 1
	}
	if errs := linux.Apply(ctx, plan); errs != nil {
		t.Errorf("add virtual servers: %v", errors.Join(errs...))
	}
	return once
}
