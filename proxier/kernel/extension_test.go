package kernel

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// configurations are those that render different rules.
func configurations() []desired.Config {
	var out []desired.Config
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		for i := range 1 << 4 {
			c := testConfig
			c.Mode = mode
			c.Localhost = [2]bool{i&1 > 0, i&1 > 0}
			c.MasqueradeAll = i&2 > 0
			c.TCPBeLiberal = i&4 > 0
			if i&8 > 0 {
				c.PodCIDRs = [2]netip.Prefix{netip.MustParsePrefix("10.244.0.0/15"), netip.MustParsePrefix("fd44::/63")}
			} else {
				c.PodInterface = "cali+"
			}
			out = append(out, c)
		}
	}
	return out
}

var extensionWord = regexp.MustCompile(`-[mj] (\S+)`)

// Each extension that rules use is tried at the start, in each table in which they use
// it, and is told by the name of a module that the command of docs/install.md looks for, too.
func TestExtensionsOfRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(page), " modprobe -n -a ")
	command, _, _ = strings.Cut(command, "\n\n")
	for _, family := range state.Families(true) {
		for _, c := range configurations() {
			rules := c.Rules(family)
			used := extensionsOf(rules, family, "SET")
			for _, e := range used {
				if m := e.module(family); !slices.Contains(strings.Fields(command), m) {
					t.Fatalf("the command of docs/install.md does not look for the module %s of %s", m, e.name)
				}
			}
			table := ""
			for _, line := range strings.Split(rules, "\n") {
				if strings.HasPrefix(line, "*") {
					table = line[1:]
				}
				for _, m := range extensionWord.FindAllStringSubmatch(line, -1) {
					name := m[1]
					if table == netutil.OwnTable || strings.HasPrefix(name, "KIPVS") || slices.Contains(verdicts, name) {
						continue
					}
					if !slices.ContainsFunc(used, func(e extension) bool {
						return e.name == name && slices.ContainsFunc(e.rules, func(p probe) bool { return p.table == table })
					}) {
						t.Fatalf("%s is not tried in table %s, of %q", name, table, line)
					}
				}
			}
		}
	}
}

func TestExtensionsOf(t *testing.T) {
	rules := `*mangle
:KIPVS-A - [0:0]
-A PREROUTING -j KIPVS-A
-A KIPVS-A ! -s 10.244.0.0/16 -m set ! --match-set KIPVS-ALL dst,dst -m set --match-set KIPVS-DROP src -j DROP
-A KIPVS-A -m set ! --match-set KIPVS-VIPS dst,dst -g KIPVS-B
COMMIT
*kube-ipvs
:KIPVS-C - [0:0]
-A KIPVS-C -m set --match-set KIPVS-ALL dst,dst -j NETMAP --to 0.0.0.0/0
COMMIT
*filter
:KIPVS-D - [0:0]
-A KIPVS-D -p tcp -j REJECT --reject-with tcp-reset
-A KIPVS-D -j REJECT --reject-with icmp-port-unreachable
COMMIT
`
	want := []extension{
		{"set", []probe{{"mangle", "-m set ! --match-set S dst,dst"}, {"mangle", "-m set --match-set S src"}}},
		{"REJECT", []probe{{"filter", "-p tcp -j REJECT --reject-with tcp-reset"}, {"filter", "-j REJECT --reject-with icmp-port-unreachable"}}},
	}
	if diff := cmp.Diff(want, extensionsOf(rules, state.IPv4, "S"), cmp.AllowUnexported(extension{}, probe{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
