package life

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A machine whose kernel has modules, of which some are missing and none is loaded
// that kube-ipvs needs. The start names all modules that it needs, in one message with one
// remedy, and goes on without the others, of which it warns. The modules that one step has
// loaded stay, so that each takes away a part of those of the step before.
func TestMissing(t *testing.T) {
	fresh(t)
	const conf = "/etc/modprobe.d/missing.conf"
	t.Cleanup(func() { _ = os.Remove(conf) })
	missing := func(t *testing.T, modules []string) []string {
		var text strings.Builder
		var out []string
		for _, m := range modules {
			if file, err := exec.Command("modinfo", "-F", "filename", m).Output(); err != nil || !strings.HasPrefix(string(file), "/") {
				t.Logf("this kernel has no module %s that could be missing", m)
				continue
			}
			if _, err := os.Stat("/sys/module/" + m); err == nil {
				t.Errorf("%s is loaded already", m)
			}
			text.WriteString("install " + m + " /bin/false\n")
			out = append(out, m)
		}
		if err := os.WriteFile(conf, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return out
	}
	named := map[string]string{ // the names that every kernel knows
		"xt_MASQUERADE": "ipt_MASQUERADE", "nft_chain_nat": "nft-chain-2-nat",
		"nft_chain_nat_ipv4": "nft-chain-2-nat", "nft_chain_nat_ipv6": "nft-chain-10-nat",
		"nft_chain_route_ipv4": "nft-chain-2-route", "nft_chain_route_ipv6": "nft-chain-10-route",
	}
	kinds := []string{
		"ip_vs_rr", "nft_chain_nat", "nft_chain_nat_ipv4", "nft_chain_nat_ipv6", "nft_chain_route_ipv4", "nft_chain_route_ipv6",
		"ip_set_hash_netport", "ip_set_hash_ipportnet", "xt_set", "xt_NETMAP", "xt_MASQUERADE", "ipt_MASQUERADE", "ipt_REJECT", "ip6t_REJECT", "xt_addrtype",
	}
	for _, step := range []struct {
		name    string
		modules []string
		flags   []string
	}{
		{"no netlink", []string{"ip_vs", "nfnetlink"}, nil},
		{"no IPVS", []string{"ip_vs"}, nil},
		{"no ipset", append([]string{"ip_set", "ip_set_hash_ipport", "nft_counter"}, kinds...), nil},
		{"no set for xt_set", append([]string{"ip_set_hash_ipport"}, kinds...), nil},
		{"all kinds", kinds, nil},
		{"the primary family", []string{"ip6t_REJECT"}, []string{"--bind-address", "fd50::1"}},
	} {
		modules := step.modules
		t.Run(step.name, func(t *testing.T) {
			n := newNode(t, "image")
			gone := missing(t, modules)
			if len(gone) == 0 {
				t.Skip("there is nothing to take away")
			}
			said, code := n.kube(n.run(step.flags...)...)
			if code == 0 {
				t.Errorf("it has started: %s", said)
			}
			for _, m := range gone {
				if m = cmp.Or(named[m], m); !names(said, m) {
					t.Errorf("%s is not named in:\n%s", m, said)
				}
			}
			if remedies := len(modprobe.FindAllString(said, -1)); remedies != 1 && !slices.Contains(gone, "ip_vs") {
				t.Errorf("there are %d remedies in:\n%s", remedies, said)
			}
			if step.name == "all kinds" {
				for _, m := range []string{"nft_compat", "nft_counter", "nf_tables", "ip_set", "ip_set_hash_ip", "ip_set_hash_ipport", "xt_mark", "xt_conntrack"} {
					if names(said, m) {
						t.Errorf("%s is named, and not missing, in:\n%s", m, said)
					}
				}
			}
			known(t, said)
			if n.cleanup() != 0 {
				t.Error("cleanup has removed something")
			}
		})
	}
	t.Run("can be done without", func(t *testing.T) {
		n := newNode(t, "image")
		n.enrich()
		gone := missing(t, []string{"dummy", "ip6t_REJECT", "nf_conntrack_netlink", "nft_nat"})
		d := n.start()
		d.first()
		n.await(func() error {
			out, err := n.command("curl", "-sSf", "http://127.0.0.1:10256/readyz").CombinedOutput()
			if err != nil {
				return fmt.Errorf("not ready: %w: %s", err, out)
			}
			return nil
		})
		for _, m := range gone {
			if !names(d.Log(), m) {
				t.Errorf("%s is not named", m)
			}
		}
		known(t, d.Log())
		for line := range strings.Lines(d.Log()) { // kube-ipvs0 is tried, as nothing needs it
			if strings.Contains(line, `"write fails;`) && !names(line, "dummy") {
				t.Errorf("a write fails: %s", line)
			}
		}
	})
}

var modprobe = regexp.MustCompile(`with modprobe (?:-a )?([^,:"]+)`)

// names reports whether the output names a module.
func names(said, module string) bool {
	return slices.ContainsFunc(modprobe.FindAllStringSubmatch(said, -1), func(m []string) bool {
		return slices.Contains(strings.Fields(m[1]), module)
	})
}

// known checks that modprobe knows all that it is told to load.
func known(t *testing.T, said string) {
	t.Helper()
	for _, m := range modprobe.FindAllStringSubmatch(said, -1) {
		for _, name := range strings.Fields(m[1]) {
			if out, err := exec.Command("modprobe", "--show-depends", name).CombinedOutput(); err != nil {
				t.Errorf("modprobe %s: %v: %s", name, err, out)
			}
		}
	}
}
