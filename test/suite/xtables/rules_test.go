package xtables

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// TestRulesOfAnotherVersion has one version write our rules, in all their forms, and
// another one read and, if it sees others, write them: that comes to an end, it sees
// when one is gone, and it removes them all.
func TestRulesOfAnotherVersion(t *testing.T) {
	all, image := releases(t, "focal", "bullseye", "bookworm", "noble", "trixie", "sid"), release(t, "bookworm")
	modes := []desired.Mode{desired.Image}
	if *every {
		modes = append(modes, desired.Direct)
	}
	for _, mode := range modes {
		config := desired.Config{Mode: mode, Scheduler: "rr", IPv6: true, Images: desired.DefaultImages, MasqueradeBit: 14,
			PodCIDRs: [2]netip.Prefix{bed.PodCIDR4, bed.PodCIDR6}, Localhost: [2]bool{true, true}}
		for _, family := range state.Families(true) {
			prefix := [...]string{state.Prefix4, state.Prefix6}[family]
			parsed, err := netutil.ParseRules(config.Rules(family), prefix)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := parsed.Split()
			for _, backend := range []netutil.Backend{netutil.NFT, netutil.Legacy} {
				r := rules{backend: backend, family: family, ours: netutil.Ours{Prefix: prefix}, want: want}
				r.makeSets(t)
				for _, a := range all {
					for _, b := range all {
						if a != image && b != image && !*every {
							continue
						}
						t.Run(fmt.Sprintf("%s/%s/%s/%s then %s", mode, family, backend, a, b), func(t *testing.T) { r.play(t, a, b) })
					}
				}
				on(t, "ipset destroy; nft flush ruleset")
			}
		}
	}
}

// rules are ours of a family.
type rules struct {
	backend netutil.Backend
	family  state.Family
	ours    netutil.Ours
	want    netutil.Ruleset
}

func (r rules) makeSets(t *testing.T) {
	t.Helper()
	for _, n := range state.SetNames() {
		on(t, "ipset create %s %s family %s", n.Kernel(r.family), n.Type(), [...]string{"inet", "inet6"}[r.family])
	}
}

func (r rules) play(t *testing.T, a, b version) {
	use := func(v version) { t.Setenv("PATH", filepath.Dir(v.tool("iptables"))+":"+os.Getenv("PATH")) }
	use(a)
	r.settle(t, r.want, 1)
	use(b)
	if again := r.settle(t, r.want, 1); again > 0 {
		t.Logf("%s shows the rules of %s as others, and writes them once", b, a)
	}
	before := r.mark(t)
	if !before.Same(r.mark(t)) {
		t.Error("rules that did not change have another mark")
	}
	chain := r.ours.Prefix + "POST"
	on(t, "%s -w -t nat -D %s 1", a.tool([...]string{"iptables-", "ip6tables-"}[r.family]+string(r.backend)), chain)
	if before.Same(r.mark(t)) || netutil.Equal(r.read(t), r.want) {
		t.Errorf("a rule of %s is gone, and that is not seen", chain)
	}
	r.settle(t, r.want, 1)
	r.settle(t, netutil.Ruleset{}, 1)
}

// settle writes rules until they are read as that, at most so many times, and returns
// how often that was.
func (r rules) settle(t *testing.T, want netutil.Ruleset, most int) (wrote int) {
	t.Helper()
	for {
		have := r.read(t)
		input := netutil.RestoreInput(want, have)
		if input == "" {
			return wrote
		}
		if wrote++; wrote > most {
			t.Fatalf("they are not read as they were written:\n%s", strings.Join(netutil.Missing(have, want), "\n"))
		}
		err := bed.Node.Do(func() error { return r.backend.Restore(t.Context(), r.family, input) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (r rules) read(t *testing.T) (have netutil.Ruleset) {
	t.Helper()
	err := bed.Node.Do(func() (err error) {
		have, err = r.backend.ReadRules(t.Context(), r.family, r.ours)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}

func (r rules) mark(t *testing.T) (m netutil.Mark) {
	t.Helper()
	err := bed.Node.Do(func() (err error) {
		m, err = r.backend.MarkRules(r.family, r.ours, r.want, netutil.Mark{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
