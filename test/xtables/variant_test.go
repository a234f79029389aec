package xtables

import (
	"strings"
	"testing"

	"kube-ipvs/test/testbed"
)

// TestBothVariants runs where programs use both variants: the kubelet's hint decides, and
// the log says that the other one applies, too, and what of ours is left there.
func TestBothVariants(t *testing.T) {
	const told, left = "the other variant of iptables has rules, too", "rules that kube-ipvs left there"
	n := newNode(t, release(t, "bookworm"), "nft")
	start := func(t *testing.T, flags ...string) *testbed.Daemon {
		t.Helper()
		d := n.start(t, release(t, "bookworm"), flags...)
		n.settled(t, d)
		return d
	}
	t.Cleanup(func() { on(t, "%s cleanup", binary) })
	if log := stop(t, start(t)); strings.Contains(log, told) {
		t.Errorf("rules of one variant: %s", log)
	}
	on(t, "iptables-legacy -A FORWARD -s 192.0.2.7 -j DROP")
	if log := stop(t, start(t)); !strings.Contains(log, told) || strings.Contains(log, left) || !strings.Contains(log, "iptables=nft") {
		t.Errorf("rules of both variants: %s", log)
	}
	if log := stop(t, start(t, "--iptables-backend", "legacy")); !strings.Contains(log, told) || !strings.Contains(log, left) {
		t.Errorf("rules of ours in the other variant: %s", log)
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
			for range 3 { // what is odd in our chains goes, and what others have stays
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
