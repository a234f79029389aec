package xtables

import (
	"fmt"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

const told = "the other variant of iptables has rules too, and both apply"

func says(t *testing.T, d *testbed.Daemon, what string) {
	t.Helper()
	await(t, func() error {
		if !strings.Contains(d.Log(), what) {
			return fmt.Errorf("the log does not say %q", what)
		}
		return nil
	})
}

// TestBothVariants runs where programs use both variants: the kubelet's hint decides, and
// the log says that the other one applies, too.
func TestBothVariants(t *testing.T) {
	n := newNode(t, release(t, "bookworm"), "nft")
	start := func(t *testing.T) *testbed.Daemon {
		t.Helper()
		d := n.start(t, release(t, "bookworm"))
		n.settled(t, d)
		return d
	}
	t.Cleanup(func() { on(t, "%s cleanup", binary) })
	if log := stop(t, start(t)); strings.Contains(log, told) {
		t.Errorf("rules of one variant: %s", log)
	}
	on(t, "iptables-legacy -A FORWARD -s 192.0.2.7 -j DROP")
	d := start(t)
	says(t, d, told)
	if log := stop(t, d); !strings.Contains(log, "iptables=nft") {
		t.Errorf("it has not taken nft: %s", log)
	}
}

// TestVariantChanges has the kubelet's hint appear in the other variant, as when a
// host changes its iptables, or a kubelet starts after kube-ipvs: the next start moves
// there, and removes the rules of the last one, but none of others.
func TestVariantChanges(t *testing.T) {
	image := release(t, "bookworm")
	for from, to := range map[string]string{"nft": "legacy", "legacy": "nft"} {
		t.Run(from+" to "+to, func(t *testing.T) {
			n := newNode(t, image, from)
			t.Cleanup(func() { on(t, "%s cleanup", binary) })
			for _, family := range families {
				on(t, "for c in KUBE-IPTABLES-HINT KUBE-KUBELET-CANARY; do %[1]s -t mangle -X $c; done; %[2]s-%[3]s -t mangle -N KUBE-IPTABLES-HINT", n.tool(family, ""), family, to)
			}
			n.before = n.shown(t)
			first := n.start(t, image, "--iptables-backend", from)
			n.settled(t, first)
			stop(t, first)
			d := n.start(t, image)
			n.settled(t, d)
			await(t, func() error {
				for _, family := range families {
					if rules := on(t, "%s 2>/dev/null | grep KIPVS || :", n.tool(family, "-save")); rules != "" {
						return fmt.Errorf("rules of ours are left in %s:\n%s", from, rules)
					}
				}
				return nil
			})
			n.serves(t)
			n.quiet(t, d)
			if err := same("rules of others", others(n.before), others(n.shown(t))); err != nil {
				t.Error(err)
			}
			says(t, d, told)
			log := stop(t, d)
			for _, said := range []string{"iptables=" + to, "removed the rules that an earlier kube-ipvs has left", told} {
				if strings.Count(log, said) != 1 {
					t.Errorf("it does not say %q once: %s", said, log)
				}
			}
		})
	}
}

// TestFirewallOfOlderHost has a host's iptables that does not know how newer ones
// write marks save all rules and restore them, as firewalls do: ours lose their matches,
// and get them back.
func TestFirewallOfOlderHost(t *testing.T) {
	host := release(t, "bullseye")
	n := newNode(t, host, "nft")
	t.Cleanup(func() { on(t, "%s cleanup", binary) })
	d := n.start(t, release(t, "sid"))
	n.settled(t, d)
	const marks = "nft list ruleset 2>/dev/null | grep -c 'mark & 0x00004000'"
	want := on(t, marks)
	for _, family := range families {
		on(t, "%s >/run/saved; %s </run/saved", n.tool(family, "-save"), n.tool(family, "-restore"))
	}
	await(t, func() error { return same("rules with a mark", want, on(t, marks+" || :")) })
	n.settled(t, d)
	n.quiet(t, d)
}

// TestNotIPTables has rules in the tables of iptables that no iptables can print, in
// those of nftables, and in chains of ours.
func TestNotIPTables(t *testing.T) {
	for _, suite := range []string{"focal", "bullseye", "bookworm", "sid"} {
		image := release(t, suite)
		t.Run("image "+image.String(), func(t *testing.T) {
			n := newNode(t, release(t, "sid"), "nft")
			t.Cleanup(func() { on(t, "%s cleanup", binary) })
			const add = `nft add rule ip nat PREROUTING tcp dport vmap '{ 99 : accept }'
				nft add rule ip filter INPUT tcp dport '{ 98, 99 }' accept
				nft add rule ip mangle FORWARD numgen random mod 2 vmap '{ 0 : accept }'
				nft insert rule ip6 filter INPUT tcp dport '{ 98, 99 }' accept`
			on(t, add)
			const rules = "nft list ruleset 2>/dev/null"
			before := on(t, rules)
			d := n.start(t, image)
			n.serves(t)
			if suite == "focal" { // it prints none of those tables, and each audit writes them anew
				out, err := d.Command(t.Context(), "plan").CombinedOutput()
				if !strings.Contains(string(out), "iptables prints nothing of ") {
					t.Errorf("plan does not say why it sees differences: %v %s", err, out)
				}
				return
			}
			n.quiet(t, d)
			for range 3 { // odd rules in kube-ipvs's chains go, and those of others stay
				on(t, "nft add rule ip filter KIPVS-IN tcp dport vmap '{ 99 : drop }'")
				await(t, func() error {
					return same("odd rules of ours", "", on(t, "nft list chain ip filter KIPVS-IN 2>/dev/null | grep vmap || :"))
				})
			}
			n.settled(t, d)
			n.quiet(t, d)
			stop(t, d)
			on(t, "%s cleanup", with(t, image))
			if err := same("rules", plain(before), plain(on(t, rules))); err != nil {
				t.Error(err)
			}
		})
	}
}
