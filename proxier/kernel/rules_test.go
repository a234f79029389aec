package kernel

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// ruled is a kernel with the rules of both families, which it has written.
func ruled(t *testing.T, backend netutil.Backend) *Linux {
	t.Helper()
	l := openLinux(t, backend)
	t.Cleanup(func() { _ = l.Close() })
	mend(t, l)
	return l
}

// mend writes what Read shows to be missing, and returns for what that was.
func mend(t *testing.T, l *Linux) []state.ID {
	t.Helper()
	var want []state.Want
	for _, o := range desired.Skeleton(testConfig) {
		want = append(want, state.Want{ID: o.ID, Spec: o.Spec, Present: true})
	}
	have, err := l.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []state.ID
	ops := state.Diff(want, have, none{})
	for _, op := range ops {
		ids = append(ids, op.ID)
	}
	if errs := l.Apply(ctx, state.NewPlan(ops)); errs != nil {
		t.Fatal(errors.Join(errs...))
	}
	return ids
}

// seen returns which families a Reader finds to have the rules that are wanted, by
// one look or by an audit, and how many processes that took.
func seen(t *testing.T, l *Linux, audit bool) (right string, processes uint64) {
	t.Helper()
	r, err := l.Reader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rules := testRules()
	note := func(id state.ID, spec state.SpecRef) {
		if id.Kind == state.Rules && spec.Value().Text == rules[id.Family()] {
			right += strings.TrimPrefix(id.Family().String(), "IPv")
		}
	}
	if audit {
		err = r.Each(ctx, func(id state.ID, spec state.SpecRef, _, _ uint32) { note(id, spec) })
	} else {
		err = r.EachRule(ctx, note)
	}
	if err != nil {
		t.Fatal(err)
	}
	return right, r.Stats().Processes
}

func eachBackend(t *testing.T, f func(t *testing.T, backend netutil.Backend)) {
	needLab(t)
	for _, backend := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
		t.Run(string(backend), func(t *testing.T) { inNetns(t, func() { f(t, backend) }) })
	}
}

// Rules that were written or read once are looked at and audited without a process, while
// other programs change theirs, and any damage is seen and mended.
func TestRulesAreProved(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend netutil.Backend) {
		l := ruled(t, backend)
		idle := func(when string) {
			t.Helper()
			for _, audit := range []bool{false, true} {
				if right, n := seen(t, l, audit); right != "46" || n != 0 {
					t.Errorf("%s, audit %v: right are %q, %d processes", when, audit, right, n)
				}
			}
		}
		restore := func(input string) {
			t.Helper()
			if err := backend.Restore(ctx, netutil.IPv4, input); err != nil {
				t.Fatal(err)
			}
		}
		idle("after writing")
		restore("*nat\n:OTHER - [0:0]\n-A OTHER -p tcp -j RETURN\n-A PREROUTING -j OTHER\nCOMMIT\n*filter\n-I FORWARD -p tcp -j ACCEPT\nCOMMIT\n")
		idle("after a change of others")
		for _, broken := range []string{
			"*nat\n-F KIPVS-CLUSTER\nCOMMIT\n", "*filter\n-D INPUT -j KIPVS-IN\nCOMMIT\n", "*mangle\n-A KIPVS-GATE -j ACCEPT\nCOMMIT\n", "*mangle\n-F PREROUTING\nCOMMIT\n",
			"*filter\n-I KIPVS-FWD -j DROP\nCOMMIT\n", "*nat\n-D KIPVS-POST 1\nCOMMIT\n", "*nat\n:KIPVS-OLD - [0:0]\n-A KIPVS-NAT -j KIPVS-OLD\nCOMMIT\n",
			"*nat\n-I PREROUTING -j OTHER\nCOMMIT\n", "*filter\n:cali-INPUT - [0:0]\n-A INPUT -j cali-INPUT\nCOMMIT\n", "*filter\n-I INPUT 2 -j DROP\nCOMMIT\n",
		} {
			restore(broken)
			if right, _ := seen(t, l, false); right != "6" {
				t.Errorf("after %q right are %q", broken, right)
			}
			if ids := mend(t, l); len(ids) != 1 || ids[0] != state.RulesID(state.IPv4) {
				t.Errorf("after %q mended %v", broken, ids)
			}
			idle("after the repair of " + broken)
		}
		for _, broken := range []string{
			"delete table ip kube-ipvs", "insert rule ip kube-ipvs KIPVS-CLUSTER return", "flush chain ip kube-ipvs OUTPUT", "add chain ip kube-ipvs mine",
		} {
			if out, err := exec.Command("nft", broken).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", broken, err, out)
			}
			if right, n := seen(t, l, false); right != "6" || n != 0 {
				t.Errorf("after %q right are %q, %d processes", broken, right, n)
			}
			if ids := mend(t, l); len(ids) != 1 || ids[0] != state.RulesID(state.IPv4) {
				t.Errorf("after %q mended %v", broken, ids)
			}
			idle("after the repair of " + broken)
		}
		// In the place of another of the same size: with legacy an audit's affair.
		restore("*mangle\n-R KIPVS-PRE 2 -d 10.0.0.0/8 -j DROP\nCOMMIT\n")
		if right, _ := seen(t, l, true); right != "6" {
			t.Errorf("after a replacement right are %q", right)
		}
	})
}

// Where others put themselves in front of our jumps again and again, these go back to
// their place ten times, and then not before some time; what stands like that is proved.
func TestRulesInAContest(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend netutil.Backend) {
		l := ruled(t, backend)
		moves := 0
		for ; moves < 2*freeMoves; moves++ {
			if err := backend.Restore(ctx, netutil.IPv4, "*filter\n-I INPUT -p tcp -j ACCEPT\nCOMMIT\n"); err != nil {
				t.Fatal(err)
			}
			if len(mend(t, l)) == 0 {
				break
			}
		}
		if right, n := seen(t, l, true); moves != freeMoves || right != "46" || n != 0 {
			t.Errorf("%d moves, right are %q, %d processes", moves, right, n)
		}
		if err := backend.Restore(ctx, netutil.IPv4, "*filter\n-D INPUT -j KIPVS-IN\nCOMMIT\n"); err != nil {
			t.Fatal(err)
		}
		if ids := mend(t, l); len(ids) != 1 {
			t.Errorf("mended %v", ids)
		}
		l.proof.contests[0].next = time.Time{}
		if err := backend.Restore(ctx, netutil.IPv4, "*filter\n-I INPUT -p tcp -j ACCEPT\nCOMMIT\n"); err != nil {
			t.Fatal(err)
		}
		have, err := l.Read(ctx)
		got, _ := have.Get(state.RulesID(state.IPv4))
		if text := got.Value().Text; err != nil || !strings.Contains(text, "! filter INPUT: a rule for ACCEPT stands in front; this happened") {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// A second start finds what the first has left, by one process a family and table.
func TestRulesOfAnEarlierRun(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend netutil.Backend) {
		ruled(t, backend)
		l := openLinux(t, backend)
		defer l.Close()
		if ids := mend(t, l); len(ids) > 0 {
			t.Errorf("mended %v", ids)
		}
		if n := l.Stats().Processes; n == 0 || n > 6 {
			t.Errorf("%d processes", n)
		}
		if right, n := seen(t, l, true); right != "46" || n != 0 {
			t.Errorf("right are %q, %d processes", right, n)
		}
	})
}

// Rules that iptables cannot express, of others, in our tables or in one of our
// chains, are no hindrance to reading and writing ours.
func TestRulesBesideWhatIPTablesCannotExpress(t *testing.T) {
	needLab(t)
	for _, where := range []string{"raw MINE", "filter MINE", "filter FORWARD", "nat PREROUTING", "filter KIPVS-FWD"} {
		t.Run(where, func(t *testing.T) {
			inNetns(t, func() {
				for _, again := range []bool{false, true} { // before and after a restart
					l := ruled(t, netutil.NFT)
					table, _, _ := strings.Cut(where, " ")
					nft := exec.Command("nft", "-f", "-")
					nft.Stdin = strings.NewReader("add table ip " + table + "\nadd chain ip " + where + "\nadd rule ip " + where + " meta mark 1234 numgen random mod 2 vmap { 0 : accept, 1 : drop }\n")
					if out, err := nft.CombinedOutput(); err != nil {
						t.Fatalf("%v %s", err, out)
					}
					if _, err := l.Check(ctx, testNeeds("rr")); err != nil {
						t.Error(err)
					}
					if found, err := FindKubeProxy(ctx); err != nil || found.Any() {
						t.Errorf("found %s, %v", found, err)
					}
					if _, err := RemoveKubeProxy(ctx); err != nil {
						t.Error(err)
					}
					if err := netutil.NFT.Restore(ctx, netutil.IPv4, "*mangle\n-F KIPVS-PRE\nCOMMIT\n*filter\n-D INPUT -j KIPVS-IN\nCOMMIT\n"); err != nil {
						t.Fatal(err)
					}
					if ids := mend(t, l); len(ids) != 1 {
						t.Errorf("again %v: mended %v", again, ids)
					}
					if right, n := seen(t, l, true); right != "46" || n != 0 {
						t.Errorf("again %v: right are %q, %d processes", again, right, n)
					}
				}
			})
		})
	}
}

// Our table of nftables is written, and known again, as each configuration has it.
func TestOwnTableOfEachConfiguration(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		l := ruled(t, netutil.NFT)
		networks, link, links, all, image := testConfig, testConfig, testConfig, testConfig, testConfig
		networks.PodCIDRs = [2]netip.Prefix{netip.MustParsePrefix("10.244.0.0/15"), netip.MustParsePrefix("fd44::/63")}
		link.PodInterface, links.PodInterface = "cni0", "cali+"
		all.MasqueradeAll = true
		image.Mode = desired.Image
		for _, c := range []desired.Config{networks, link, links, all, image} {
			for _, family := range l.families() {
				_, own, err := l.parse(family, c.Rules(family))
				if err != nil {
					t.Fatal(err)
				}
				if have, _, err := l.readOwn(family, own); err != nil || netutil.Equal(have, own) {
					t.Errorf("%v is taken for what another configuration has: %v", have, err)
				}
				if err := l.writeOwn(family, own); err != nil {
					t.Error(err)
				}
				if have, _, err := l.readOwn(family, own); err != nil || !netutil.Equal(have, own) {
					t.Errorf("%v: %q", err, netutil.Missing(have, own))
				}
			}
		}
	})
}

// A tool that hangs is an error of the write that needs it, which names it, and of
// nothing else.
func TestRulesByAToolThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a tool's deadline")
	}
	needLab(t)
	inNetns(t, func() {
		l := ruled(t, netutil.NFT)
		if err := netutil.NFT.Restore(ctx, netutil.IPv4, "*filter\n-D INPUT -j KIPVS-IN\nCOMMIT\n"); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		script := "#!/bin/sh\nexec /bin/sleep 1000\n"
		if err := os.WriteFile(filepath.Join(dir, "iptables-nft-restore"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		if right, _ := seen(t, l, true); right != "6" {
			t.Errorf("right are %q", right)
		}
		have, err := l.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		id, rules := state.RulesID(state.IPv4), state.Intern(state.Spec{Text: testRules()[0]})
		got, _ := have.Get(id)
		errs := l.Apply(ctx, state.Plan{{Verb: state.Change, ID: id, Spec: rules, Old: got}})
		if errs == nil || !strings.Contains(errs[0].Error(), "iptables-nft-restore") || !strings.Contains(errs[0].Error(), "did not end within 15s") {
			t.Errorf("%v", errs)
		}
	})
}
