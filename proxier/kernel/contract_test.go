package kernel

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"kube-ipvs/ipset"
	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// inNetns runs f in a network namespace of its own.
func inNetns(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace end with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		defer close(done)
		f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// needLab skips where IPVS is not to be had, and never in the lab.
func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("KUBE_IPVS_LAB") == "" {
		t.Skip("needs a kernel with IPVS: make lab-test")
	}
}

var ctx = context.Background()

var testConfig = desired.Config{
	Mode: desired.Direct, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14, NodeName: "node",
}

func testRules() [2]string {
	return [2]string{testConfig.Rules(state.IPv4), testConfig.Rules(state.IPv6)}
}

func testNeeds(scheduler string) Needs {
	return Needs{Scheduler: scheduler, Rules: testRules(), Device: true}
}

func openLinux(t interface {
	Fatal(...any)
	Helper()
}, backend netutil.Backend) *Linux {
	t.Helper()
	l, err := OpenLinux(ctx, Options{IPv6: true, Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	l.Expect(testRules())
	// IPVS cannot reach real servers before the namespace has a local table.
	lo, err := netutil.OpenLinks()
	if err != nil {
		t.Fatal(err)
	}
	defer lo.Close()
	if err := lo.SetUp("lo"); err != nil {
		t.Fatal(err)
	}
	return l
}

// drawOp draws a write that may or may not make sense.
func drawOp(t *rapid.T) state.Op {
	op := state.Op{Verb: rapid.SampledFrom([]state.Verb{state.Add, state.Change, state.Delete}).Draw(t, "verb"), Spec: state.None, Old: state.None}
	addr := netip.MustParseAddr(rapid.SampledFrom([]string{"10.96.0.10", "242.96.0.10", "fd96::10"}).Draw(t, "addr"))
	proto := rapid.SampledFrom([]state.Protocol{state.TCP, state.UDP, state.SCTP}).Draw(t, "proto")
	at := netip.AddrPortFrom(addr, 80)
	endpoint := netip.AddrPortFrom(netip.MustParseAddr("10.244.0.11"), 8080)
	source, wide := netip.MustParseAddr("127.0.0.1"), netip.MustParsePrefix("10.0.0.0/8")
	if addr.Is6() {
		endpoint = netip.AddrPortFrom(netip.MustParseAddr("fd44::11"), 8080)
		source, wide = netip.MustParseAddr("::1"), netip.MustParsePrefix("fd00::/8")
	}
	family := state.FamilyOf(addr)
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1:
		op.ID = state.VirtualServerID(proto, at)
		op.Spec = state.Intern(rapid.SampledFrom([]state.Spec{
			{Scheduler: "rr", Flags: state.FlagOurs}, {Scheduler: "mh", Flags: state.FlagOurs | state.FlagSchedPort},
			{Scheduler: "lc", Flags: state.FlagOurs | state.FlagPersistent, Timeout: 60}, {Scheduler: "nosuch", Flags: state.FlagOurs},
		}).Draw(t, "server"))
	case 2, 3:
		op.ID = state.RealServerID(state.VirtualServerID(proto, at), endpoint)
		op.Spec = state.Serving(uint32(rapid.IntRange(0, 3).Draw(t, "weight")), rapid.SampledFrom([]uint32{0, 0, 1, 100}).Draw(t, "limit"))
	case 4:
		op.ID = state.VIPID(addr)
		op.Spec = state.Intern(rapid.SampledFrom([]state.Spec{{}, {Source: source}, {Source: source, MTU: 1400}, {Bare: true}, {Source: source, Bare: true}}).Draw(t, "vip"))
	case 5:
		op.ID = rapid.SampledFrom([]state.ID{
			state.RouteID(desired.DefaultImages[0].Cluster), state.RouteID(desired.DefaultImages[1].NodePort), state.LinkID(),
		}).Draw(t, "route")
	case 6:
		op.ID = state.SetID(rapid.SampledFrom(state.SetNames()).Draw(t, "set"), family)
		if op.Verb == state.Change {
			op.Verb = state.Add
		}
	default:
		op.ID, op.Spec = drawEntry(t, proto, at, endpoint, wide)
	}
	return op
}

func drawEntry(t *rapid.T, proto state.Protocol, at, endpoint netip.AddrPort, wide netip.Prefix) (state.ID, state.SpecRef) {
	set := rapid.SampledFrom(state.SetNames()).Draw(t, "entry of")
	spec := state.None
	if set.Comments() && rapid.Bool().Draw(t, "comment") {
		spec = state.Intern(state.Spec{Text: "default/web:http"})
	}
	switch set.Type() {
	case state.HashIP:
		return state.VIPEntryID(at.Addr()), spec
	case state.HashIPPortIP:
		return state.HairpinID(proto, endpoint), spec
	case state.HashIPPortNet:
		return state.SourceEntryID(proto, at, wide), spec
	case state.HashNetPort:
		return state.NetEntryID(set, proto, wide, at.Port()), spec
	}
	return state.EntryID(set, proto, at), spec
}

// readBeside returns what a Reader reads, and wants each object once.
func readBeside(t interface{ Fatalf(string, ...any) }, k Kernel) *state.State {
	r, err := k.Reader(ctx)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out := &state.State{}
	err = r.Each(ctx, func(id state.ID, spec state.SpecRef, _, _ uint32) {
		if out.Has(id) {
			t.Fatalf("%s was read twice", id)
		}
		out.Put(id, spec)
	})
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

// fate is what may differ between two kernels that are alike: whether a write
// fails, and whether that means that the kernel is other than it was taken for.
func fate(errs []error, i int) string {
	switch {
	case errs == nil || errs[i] == nil:
		return "done"
	case errors.Is(errs[i], ErrStale):
		return "stale"
	}
	return "refused"
}

// settings are the same in both from the start.
func comparable(s *state.State) []string {
	rest := &state.State{}
	for id, spec := range s.All() {
		if id.Kind != state.Setting {
			rest.Put(id, spec)
		}
	}
	return strings.Split(rest.String(), "\n")
}

// TestFakeIsLikeLinux gives both the same random writes, sensible or not, one
// by one or together, and wants the same fate of each and the same state after
// them.
func TestFakeIsLikeLinux(t *testing.T) {
	needLab(t)
	inNetns(t, func() { fakeIsLikeLinux(t) })
}

// sensible makes of a write about a VIP one that knows what is there, as those of
// the loop do, and has it done in now.
func sensible(op state.Op, now *Fake) state.Op {
	if old, there := now.State.Get(op.ID); op.ID.Kind == state.VIP && op.Verb != state.Delete {
		if op.Verb = state.Add; there {
			op.Verb, op.Old = state.Change, old
		}
	}
	now.Apply(ctx, state.Plan{op})
	return op
}

func fakeIsLikeLinux(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		linux, fake := openLinux(t, netutil.NFT), NewFake()
		defer linux.Close()
		defer empty(t, linux)
		for range rapid.IntRange(1, 8).Draw(t, "plans") {
			var plan state.Plan
			now := NewFake()
			now.State = fake.State.Clone()
			for range rapid.IntRange(1, 8).Draw(t, "ops") {
				plan = append(plan, sensible(drawOp(t), now))
			}
			real, faked := linux.Apply(ctx, plan), fake.Apply(ctx, plan)
			for i, op := range plan {
				if a, b := fate(real, i), fate(faked, i); a != b {
					t.Fatalf("%s: Linux says %s (%v), the fake %s (%v)", op, a, errAt(real, i), b, errAt(faked, i))
				}
			}
			read, err := linux.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for how, have := range map[string]*state.State{"by the loop": read, "beside it": readBeside(t, linux)} {
				if diff := cmp.Diff(comparable(fake.State), comparable(have)); diff != "" {
					t.Fatalf("after %v, read %s (-fake +Linux):\n%s", plan, how, diff)
				}
			}
			if diff := cmp.Diff(lookAt(t, fake), lookAt(t, linux)); diff != "" {
				t.Fatalf("after %v, a look (-fake +Linux):\n%s", plan, diff)
			}
		}
	})
}

func errAt(errs []error, i int) error {
	if errs == nil {
		return nil
	}
	return errs[i]
}

// empty removes all that is ours.
func empty(t interface{ Fatalf(string, ...any) }, l *Linux) {
	have, err := l.Read(ctx)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var ops []state.Op
	for id, spec := range have.All() {
		if id.Kind != state.Setting {
			ops = append(ops, state.Op{Verb: state.Delete, ID: id, Spec: state.None, Old: spec})
		}
	}
	if errs := l.Apply(ctx, state.NewPlan(ops)); errs != nil {
		t.Fatalf("empty the kernel: %v", errors.Join(errs...))
	}
}

// TestSkeleton writes and reads back what stands on every node, with both
// variants of iptables, and checks that doing it again changes nothing, that
// what others change is seen, and that nothing is left in the end.
func TestSkeleton(t *testing.T) {
	needLab(t)
	for _, backend := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		t.Run(string(backend), func(t *testing.T) {
			inNetns(t, func() { skeleton(t, openLinux(t, backend)) })
		})
	}
}

func skeleton(t *testing.T, l *Linux) {
	defer l.Close()
	// As every start does: before 4.19 a rule brings conntrack of its family, and some sysctls
	// of it.
	if _, err := l.Check(ctx, testNeeds("rr")); err != nil {
		t.Fatal(err)
	}
	var want []state.Want
	for _, o := range desired.Skeleton(testConfig) {
		want = append(want, state.Want{ID: o.ID, Spec: o.Spec, Present: true})
	}
	differences := func() []state.Op {
		have, err := l.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return state.Diff(want, have, none{})
	}
	write := func() {
		if errs := l.Apply(ctx, state.NewPlan(differences())); errs != nil {
			t.Fatal(errors.Join(errs...))
		}
		if ops := differences(); len(ops) > 0 {
			t.Fatalf("still to do: %v", ops)
		}
	}
	write()
	for _, broken := range []string{
		"*nat\n-F KIPVS-CLUSTER\nCOMMIT\n", "*filter\n-D INPUT -j KIPVS-IN\nCOMMIT\n", "*mangle\n-A KIPVS-GATE -j ACCEPT\nCOMMIT\n",
	} {
		if err := l.backend.Restore(ctx, netutil.IPv4, broken); err != nil {
			t.Fatal(err)
		}
		ops := differences()
		if len(ops) != 1 || ops[0].ID != state.RulesID(state.IPv4) {
			t.Errorf("after %q: to do %v, want the rules", broken, ops)
		}
		write()
	}
	empty(t, l)
	if have, err := l.Read(ctx); err != nil || len(comparable(have)) != 1 || comparable(have)[0] != "" {
		t.Errorf("left behind: %q, %v", comparable(have), err)
	}
}

type none struct{}

func (none) Draining(state.ID) bool { return false }

// TestCheckLeavesNothing proves the kernel and looks for traces.
func TestCheckLeavesNothing(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		l := openLinux(t, netutil.NFT)
		defer l.Close()
		if lacks, err := l.Check(ctx, testNeeds("rr")); err != nil || lacks != nil || !l.HasIPv6() {
			t.Errorf("lacks %v, %v", lacks, err)
		}
		if _, err := l.Check(ctx, testNeeds("nosuch")); err == nil || !strings.Contains(err.Error(), "rr, ") {
			t.Errorf("an unknown scheduler: %v", err)
		}
		sets, err := l.ipset.Sets()
		if err != nil || len(sets) > 0 {
			t.Errorf("left sets %v, %v", sets, err)
		}
		for _, family := range []netutil.Family{netutil.IPv4, netutil.IPv6} {
			if chains, err := l.backend.Chains(family); err != nil || len(chains) > 0 {
				t.Errorf("left chains of %s %v, %v", family, chains, err)
			}
			if there, err := netutil.HasNFTable(family, netutil.OwnTable); there || err != nil {
				t.Errorf("left our table of %s: %v, %v", family, there, err)
			}
		}
		if _, _, exists, err := l.links.FindDummy("kube-ipvs-probe"); exists || err != nil {
			t.Errorf("left a link: %v, %v", exists, err)
		}
		servers, err := l.ipvs.Services()
		if err != nil || len(servers) > 0 {
			t.Errorf("left virtual servers %v, %v", servers, err)
		}
	})
}

// Where nothing is missing Load writes nothing, and what a trial puts into scratch chains
// goes again, whether or not it can be done.
func TestLoadLeavesNothing(t *testing.T) {
	needLab(t)
	for _, b := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		inNetns(t, func() {
			if used, err := Load(ctx, b); err != nil || used != b {
				t.Errorf("%s: %v", b, err)
			}
			if chains, err := netutil.NFT.Chains(netutil.IPv4); err != nil || len(chains) > 0 {
				t.Errorf("%s: written %v, %v", b, chains, err)
			}
			for _, rules := range []string{"-p tcp -j ACCEPT", "-m nosuchmatch"} {
				err := scratch(ctx, b, state.IPv4, map[string][]string{"filter": {rules}})
				if (err == nil) != (rules == "-p tcp -j ACCEPT") {
					t.Errorf("%s: try %q: %v", b, rules, err)
				}
				if chains, err := b.Chains(netutil.IPv4); err != nil || len(chains) > 0 {
					t.Errorf("%s: left by %q: %v, %v", b, rules, chains, err)
				}
			}
		})
	}
}

// A start that ends in the midst of a trial, or whose iptables lacks a table, leaves no chain.
func TestScratchIsNotLeft(t *testing.T) {
	needLab(t)
	for _, b := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		inNetns(t, func() {
			left := func(when string) {
				if chains, err := b.Chains(netutil.IPv4); err != nil || len(chains) > 0 {
					t.Errorf("%s: %s: left %v, %v", b, when, chains, err)
				}
			}
			trial := map[string][]string{"filter": {"-p tcp -j ACCEPT"}, "mangle": nil}
			t.Run(string(b), func(t *testing.T) {
				hangOnce(t, b)
				ending, end := context.WithTimeout(ctx, 2*time.Second)
				defer end()
				if err := scratch(ending, b, state.IPv4, trial); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ended meanwhile: %v", err)
				}
			})
			left("ended meanwhile")
			trial["missing"], trial["nat"] = nil, nil
			if err := scratch(ctx, b, state.IPv4, trial); err == nil {
				t.Errorf("%s: it has a table that there is not", b)
			}
			left("without a table")
		})
	}
}

// hangOnce has the iptables-restore of b hang when it has done its work, the first time.
func hangOnce(t *testing.T, b netutil.Backend) {
	t.Helper()
	name := "iptables-" + string(b) + "-restore"
	real, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n" + real + " \"$@\" || exit\nmkdir " + dir + "/done 2>/dev/null || exit 0\nsleep 1000\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// What a start that was killed has left is no sign of the variant in use and no proof of
// rules. The next start removes it, and so does cleanup.
func TestScratchOfOneThatWasKilled(t *testing.T) {
	needLab(t)
	for name, remove := range map[string]func(*Linux) error{
		"start":   func(l *Linux) error { _, err := l.Check(ctx, testNeeds("rr")); return err },
		"cleanup": func(l *Linux) error { return l.RemoveScratch(ctx) },
	} {
		inNetns(t, func() {
			l := openLinux(t, netutil.Legacy)
			defer l.Close()
			set := scratchName(state.IPv4)
			for _, name := range []string{set, ipset.ProbeName} {
				if err := l.ipset.Create(ipset.Set{Name: name, Type: ipset.HashIPPort, Family: unix.AF_INET}); err != nil {
					t.Error(err)
				}
			}
			text := "*nat\n:" + set + " - [0:0]\n-A " + set + " -m set --match-set " + set + " dst,dst\nCOMMIT\n"
			if err := l.backend.Restore(ctx, netutil.IPv4, text); err != nil {
				t.Error(err)
			}
			if have, err := l.Read(ctx); err != nil || have.Has(state.RulesID(state.IPv4)) {
				t.Errorf("%s: it is read as rules of ours, or %v", name, err)
			}
			if err := remove(l); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			chains, err := l.backend.Chains(netutil.IPv4)
			sets, failed := l.ipset.Sets()
			if err := errors.Join(err, failed); err != nil || len(chains)+len(sets) > 0 {
				t.Errorf("%s: left %v %v, %v", name, chains, sets, err)
			}
		})
	}
}

// Counters that stand still are no counters.
func TestTrafficThatIsNotSummed(t *testing.T) {
	needLab(t)
	if _, err := netutil.ReadSysctl(runEstimation); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this kernel sums up counters always: it has no sysctl run_estimation")
	}
	inNetns(t, func() {
		v := NewView(false)
		defer v.Close()
		for _, run := range []string{"0", "1"} {
			if err := netutil.WriteSysctl(runEstimation, run); err != nil {
				t.Error(err)
			}
			if _, err := v.ServerCounts(); errors.Is(err, errNotSummed) != (run == "0") || run == "1" && err != nil {
				t.Errorf("with %s: %v", run, err)
			}
		}
	})
}

// TestForeignServersAreNotRead makes virtual servers without our flag.
func TestForeignServersAreNotRead(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		l := openLinux(t, netutil.NFT)
		defer l.Close()
		id := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:80"))
		foreign := state.Op{Verb: state.Add, ID: id, Spec: state.Intern(state.Spec{Scheduler: "rr"}), Old: state.None}
		if errs := l.Apply(ctx, state.Plan{foreign}); errs != nil {
			t.Fatal(errs)
		}
		have, err := l.Read(ctx)
		if there := have.Has(id); there || err != nil {
			t.Errorf("a foreign virtual server was read as ours, or %v", err)
		}
		ours := foreign
		ours.Spec = state.Intern(state.Spec{Scheduler: "rr", Flags: state.FlagOurs})
		if errs := l.Apply(ctx, state.Plan{ours}); !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, ErrStale) }) {
			t.Errorf("ours was written over it: %v", errs)
		}
	})
}
