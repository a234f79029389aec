package desired

import (
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"kube-ipvs/netutil/iptables"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

var update = flag.Bool("update", false, "rewrite testdata/rules.txtar")

// TestRulesText compares the text of all rules, byte for byte, with testdata/rules.txtar:
// a change of it makes every node write its rules again when it is upgraded.
func TestRulesText(t *testing.T) {
	const file = "testdata/rules.txtar"
	golden, err := txtar.ParseFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := map[string]string{}
	if golden != nil {
		for _, f := range golden.Files {
			want[f.Name] = string(f.Data)
		}
	}
	unknown := func(c *Config) { c.PodCIDRs = [2]netip.Prefix{} }
	now := &txtar.Archive{}
	for _, tt := range []struct {
		name   string
		mode   Mode
		change func(*Config)
	}{
		{"image", Image, func(*Config) {}},
		{"direct, node ports at loopback addresses", Direct, func(c *Config) { c.Localhost = [2]bool{true, true} }},
		{"image, pods by their links, all masqueraded, liberal conntrack", Image, func(c *Config) {
			c.PodInterface, c.MasqueradeAll, c.TCPBeLiberal, c.MasqueradeBit = "veth+", true, true, 31
		}},
		{"direct, pods unknown", Direct, unknown},
	} {
		c := config(tt.mode)
		tt.change(&c)
		for _, family := range state.Families(true) {
			name := tt.name + ", " + family.String()
			got := c.Rules(family)
			if diff := cmp.Diff(want[name], got); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			now.Files = append(now.Files, txtar.File{Name: name, Data: []byte(got)})
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Each chain that a rule names is one that its table declares, or the kernel's or a
// target of iptables, and each set is one of those of the family.
func TestRulesNameWhatIsThere(t *testing.T) {
	builtin := []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	targets := []string{"ACCEPT", "DROP", "RETURN", "REJECT", "MARK", "NETMAP", "DNAT", "MASQUERADE"}
	for _, mode := range []Mode{Image, Direct} {
		c := config(mode)
		c.Localhost = [2]bool{true, true}
		for _, family := range state.Families(true) {
			sets := map[string]state.SetName{}
			for _, set := range state.SetNames() {
				sets[set.Kernel(family)] = set
			}
			declared := map[[2]string]bool{}
			for l, err := range iptables.Lines(c.Rules(family)) {
				if err != nil {
					t.Fatal(err)
				}
				if l.Policy != "" {
					declared[[2]string{l.Table, l.Chain}] = true
					continue
				}
				r, err := iptables.Parse(l.Chain, l.Rule)
				if err != nil {
					t.Fatal(err)
				}
				if target := r.Target(); !declared[[2]string{l.Table, l.Chain}] && !slices.Contains(builtin, l.Chain) ||
					!declared[[2]string{l.Table, target}] && !slices.Contains(targets, target) {
					t.Errorf("table %s lacks a chain of %s", l.Table, r)
				}
				for _, o := range r.Options {
					if o.Name != "--match-set" {
						continue
					}
					set, ok := sets[o.Args[0]]
					if dimensions := strings.Count(string(set.Type()), ",") + 1; !ok || len(strings.Split(o.Args[1], ",")) != dimensions {
						t.Errorf("there is no such set for %s", r)
					}
				}
			}
		}
	}
}

// No text of an object becomes part of a rule: whatever Services and endpoints there are, the rules
// are those of the configuration.
func TestObjectsGiveNoRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model.New(model.Node{Name: world.Node})
		for range rapid.IntRange(1, 20).Draw(t, "events") {
			event(t, m)
		}
		c := config(rapid.SampledFrom([]Mode{Direct, Image}).Draw(t, "mode"))
		table := NewTable(c, facts)
		table.Update(m, m.Keys())
		n := 0
		for id, spec := range table.All() {
			if id.Kind != state.Rules {
				continue
			}
			n++
			if spec.Value().Text != c.Rules(id.Family()) {
				t.Errorf("%s is\n%s", id, spec.Value().Text)
			}
		}
		if n != 2 {
			t.Errorf("%d objects are rules, want one a family", n)
		}
	})
}
