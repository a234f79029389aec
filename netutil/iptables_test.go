package netutil

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// wanted is written as a person would; the tools spell much of it otherwise.
func wanted(family Family) string {
	host, icmp := "10.0.0.1", "-p icmp --icmp-type 8"
	if family == IPv6 {
		host, icmp = "fd00:0::1", "-p icmpv6 --icmpv6-type 135"
	}
	return strings.NewReplacer("HOST", host, "ICMP", icmp).Replace(`
*nat
:KIPVS-NAT - [0:0]
:KIPVS-MARK - [0:0]
:KIPVS-POST - [0:0]
-A PREROUTING -m comment --comment "kube ipvs" -j KIPVS-NAT
-A OUTPUT -j KIPVS-NAT
-A OUTPUT -j KIPVS-MARK
-A POSTROUTING -j KIPVS-POST
-A KIPVS-NAT -s HOST -p tcp --dport 80 -j KIPVS-MARK
-A KIPVS-NAT ! -s HOST -d HOST -p udp -m udp --dport 53 --sport 1:9 -j RETURN
-A KIPVS-NAT -m addrtype --dst-type LOCAL -p 132 --dport 5 -j RETURN
-A KIPVS-NAT -m comment --comment foo -j RETURN
-A KIPVS-NAT -m comment --comment "say \"-j KIPVS-NAT\" \\" -g KIPVS-MARK
-A KIPVS-NAT -m mark ! --mark 0x4000/0x4000 -i lo -j RETURN
-A KIPVS-NAT -m conntrack --ctstate ESTABLISHED,RELATED,NEW -j RETURN
-A KIPVS-MARK -j MARK --or-mark 0x4000
-A KIPVS-MARK -j MARK --set-mark 1
-A KIPVS-MARK -j MARK --and-mark 0xff
-A KIPVS-MARK -j MARK --xor-mark 0x1
-A KIPVS-MARK -j MARK --set-xmark 0x4000/0x4000
-A KIPVS-POST -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A KIPVS-POST ! -o kube-ipvs0 -p tcp -m tcp --dport 1000:2000 -j RETURN
COMMIT
*filter
:KIPVS-FILTER - [0:0]
-A INPUT -j KIPVS-FILTER
-A KIPVS-FILTER -m conntrack --ctstate DNAT,INVALID -p tcp -j REJECT --reject-with tcp-reset
-A KIPVS-FILTER ICMP -j ACCEPT
-A KIPVS-FILTER -p udp -j REJECT
COMMIT
`)
}

const foreign = `*nat
:FOREIGN - [0:0]
-A PREROUTING -m comment --comment "about KIPVS-NAT" -j FOREIGN
-A FOREIGN -p tcp --dport 1 -j RETURN
COMMIT
`

func parse(t testing.TB, text string) Ruleset {
	t.Helper()
	r, err := ParseRules(text, "KIPVS")
	must(t, err)
	return r
}

// eachBackend runs f for both backends and families in fresh namespaces.
func eachBackend(t *testing.T, f func(t *testing.T, b Backend, family Family)) {
	for _, b := range []Backend{NFT, Legacy} {
		for _, family := range []Family{IPv4, IPv6} {
			t.Run(fmt.Sprintf("%s/%s", b, family), func(t *testing.T) {
				inNetns(t, func() {
					if err := b.Restore(t.Context(), family, "*nat\nCOMMIT\n"); err != nil {
						lacks(t, "iptables of backend %s: %v", b, err)
					}
					f(t, b, family)
				})
			})
		}
	}
}

func TestRulesLife(t *testing.T) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		read := func() Ruleset {
			t.Helper()
			r, err := b.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS"})
			must(t, err)
			return r
		}
		restore := func(input string) { t.Helper(); must(t, b.Restore(t.Context(), family, input)) }
		restore(foreign)
		before := saved(t, b, family)
		if have := read(); !Equal(have, Ruleset{}) {
			t.Fatalf("foreign rules taken for ours: %q", Missing(have, Ruleset{}))
		}

		want := parse(t, wanted(family))
		restore(RestoreInput(want, read()))
		if have := read(); !Equal(have, want) || len(Missing(have, want)) != 0 {
			t.Fatalf("differs after restore: %q", Missing(have, want))
		}
		var jumps []string
		for _, r := range get(read().get("nat").builtin, "OUTPUT").rules {
			jumps = append(jumps, r.Text)
		}
		if !slices.Equal(jumps, []string{"-j KIPVS-NAT", "-j KIPVS-MARK"}) {
			t.Errorf("order of jumps: %q", jumps)
		}

		// Damage: a jump lost, one twice, one too many, a chain emptied, an old chain in use.
		restore("*nat\n:KIPVS-OLD - [0:0]\n:KIPVS-OLDER - [0:0]\n:KIPVS-POST - [0:0]\n-A KIPVS-OLD -j KIPVS-OLDER\n" +
			"-A INPUT -j KIPVS-OLD\n-D OUTPUT -j KIPVS-NAT\n-A OUTPUT -j KIPVS-MARK\n-A KIPVS-NAT -j KIPVS-OLD\nCOMMIT\n")
		have := read()
		if got := Missing(have, want); len(got) != 8 {
			t.Errorf("damage seen: %q", got)
		}
		restore(RestoreInput(want, have))
		if have := read(); !Equal(have, want) {
			t.Errorf("differs after repair: %q", Missing(have, want))
		}

		restore(RestoreInput(Ruleset{}, read()))
		after := saved(t, b, family)
		if b, a := bare(before), bare(after); !slices.Equal(b, a) {
			t.Errorf("foreign rules were\n%q, now\n%q", b, a)
		}
	})
}

// saved returns what iptables-save prints: the rules of all programs.
func saved(t testing.TB, b Backend, family Family) string {
	t.Helper()
	tool, err := b.tool(t.Context(), family, "save")
	must(t, err)
	out, err := exec.Command(tool).Output()
	must(t, err)
	return string(out)
}

// bare leaves out what every run of iptables-save prints anew.
func bare(saved string) []string {
	var out []string
	for _, l := range strings.Split(saved, "\n") {
		if strings.HasPrefix(l, "-A") || strings.HasPrefix(l, ":") && strings.Contains(l, " - ") {
			out = append(out, l)
		}
	}
	return out
}

func TestRestoreErrors(t *testing.T) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		for _, tt := range []struct{ input, line string }{
			{"*nat\n:KIPVS-A - [0:0]\n-A KIPVS-A -m nonsuch -j ACCEPT\nCOMMIT\n", `line 3 of its input failed: "-A KIPVS-A -m nonsuch -j ACCEPT"`},
			{"*nat\n-A KIPVS-NONE -j ACCEPT\nCOMMIT\n", `line 2 of its input failed: "-A KIPVS-NONE -j ACCEPT"`},
			{"*nat\n:KIPVS-A - [0:0]\n-A KIPVS-A -p tcp --dport x\nCOMMIT\n", `line 3 of its input failed: "-A KIPVS-A -p tcp --dport x"`},
		} {
			err := b.Restore(t.Context(), family, tt.input)
			if err == nil || !strings.Contains(err.Error(), tt.line) || errors.Is(err, ErrBusy) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v", tt.input, err)
			}
		}
		if have, err := b.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS"}); err != nil || !Equal(have, Ruleset{}) {
			t.Errorf("failed input left something: %v", err)
		}
	})
}

func TestRestoreBusy(t *testing.T) {
	exit := exec.Command("sh", "-c", "exit 4").Run()
	err := restoreError("iptables-legacy-restore", "*nat\nCOMMIT\n", "Another app is currently holding the xtables lock. Stopped waiting after 5s.", exit)
	if !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	err = restoreError("iptables-legacy-restore", "*nat\nCOMMIT\n", "Fatal: can't open lock file /run/xtables.lock: Read-only file system", exit)
	if errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "Read-only") {
		t.Error(err)
	}
	// The nft tools exit with 4 for any refusal of the kernel.
	err = restoreError("iptables-nft-restore", "*nat\nCOMMIT\n", "line 2: RULE_APPEND failed (Invalid argument): rule in chain X", exit)
	if errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

func TestDetectBackend(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6} {
		for _, tt := range []struct {
			name        string
			nft, legacy string
			want        Backend
		}{
			{"nothing", "", "", NFT},
			{"hint in nft", "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n", "", NFT},
			{"canary in legacy", "", "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n", Legacy},
			{"canary elsewhere", "", "*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n", NFT},
			{"ours in legacy", "*nat\n:OTHER - [0:0]\nCOMMIT\n", "*nat\n:KIPVS-NAT - [0:0]\nCOMMIT\n", Legacy},
			{"rules in legacy", "", "*filter\n-A FORWARD -j DROP\nCOMMIT\n", Legacy},
			{"rules in both", "*filter\n-A FORWARD -j DROP\nCOMMIT\n", "*filter\n-A FORWARD -j DROP\nCOMMIT\n", NFT},
			{"more rules in legacy", "*filter\n-A FORWARD -j DROP\nCOMMIT\n", "*filter\n:X - [0:0]\n-A FORWARD -j X\n-A X -j DROP\nCOMMIT\n", Legacy},
			{"ours beat rules", "*nat\n:KIPVS-NAT - [0:0]\nCOMMIT\n", "*filter\n-A FORWARD -j DROP\nCOMMIT\n", NFT},
			{"hint beats ours", "*nat\n:KIPVS-NAT - [0:0]\nCOMMIT\n", "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n", Legacy},
		} {
			t.Run(fmt.Sprintf("%s/%s", tt.name, family), func(t *testing.T) {
				inNetns(t, func() {
					for b, input := range map[Backend]string{NFT: tt.nft, Legacy: tt.legacy} {
						if err := b.Restore(t.Context(), family, input); err != nil {
							lacks(t, "iptables of backend %s: %v", b, err)
						}
					}
					got, err := DetectBackend(t.Context(), "KIPVS")
					if got != tt.want || err != nil {
						t.Errorf("%q %v, want %q", got, err, tt.want)
					}
					if tt.legacy == "" && len(legacyTables(IPv4))+len(legacyTables(IPv6)) > 0 {
						t.Error("looking made legacy tables")
					}
				})
			})
		}
	}
}

func TestNoTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := DetectBackend(context.Background(), "KIPVS"); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
	if err := NFT.Restore(context.Background(), IPv4, "*nat\nCOMMIT\n"); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
}

func TestParseRulesErrors(t *testing.T) {
	for _, text := range []string{
		"*nat\n:KIPVS-A - [0:0]\n", "-A KIPVS-A -j ACCEPT\n", "*nat\n-A KIPVS-A -j ACCEPT\nCOMMIT\n", "*nat\n*filter\nCOMMIT\n",
		"*nat\n:KIPVS-A - [0:0]\n-A KIPVS-A -m comment --comment \"x -j ACCEPT\nCOMMIT\n", "*nat\nnonsense\nCOMMIT\n",
		"*nat\n:KIPVS-A - [0:0]\n-A KIPVS-A --dport 5\nCOMMIT\n", "*nat\n:KIPVS-A - [0:0]\n-A KIPVS-A -j\nCOMMIT\n",
	} {
		if _, err := ParseRules(text, "KIPVS"); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

// FuzzParseRules wants the parser to survive, and rules to equal themselves but for jumps
// that are misplaced among the rules of others.
func FuzzParseRules(f *testing.F) {
	f.Add(wanted(IPv4), foreign)
	f.Add(wanted(IPv6), wanted(IPv4))
	f.Add("*nat\n[1:2] -A OUTPUT -j KIPVS-X\nCOMMIT\n", "*nat\n:KIPVS-X - [0:0]\nCOMMIT\n")
	f.Add("*nat\n-A OUTPUT -j DROP\n-A OUTPUT -j KIPVS-X\nCOMMIT\n", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		have, err := ParseRules(a, "KIPVS")
		if err != nil {
			return
		}
		if is := have.Tolerated(); !Equal(is, is) || len(Missing(is, is)) != 0 {
			t.Fatalf("differs from itself: %q", RestoreInput(is, is))
		}
		if misplaced := len(have.Misplaced()) > 0; Equal(have, have) == misplaced {
			t.Fatalf("misplaced is %v: %q", misplaced, RestoreInput(have, have))
		}
		want, err := ParseRules(b, "KIPVS")
		if err != nil {
			return
		}
		if Equal(have, want) != (len(Missing(have, want)) == 0) {
			t.Fatalf("Equal and Missing disagree: %q, %q", RestoreInput(want, have), Missing(have, want))
		}
	})
}

// What is printed of a ruleset reads as that ruleset.
func TestRulesetPrintsWhatItHolds(t *testing.T) {
	const text = "*nat\n:PREROUTING ACCEPT [0:0]\n:X-A - [0:0]\n:X-B - [0:0]\n:OTHER - [0:0]\n" +
		"-A PREROUTING -j X-A\n-A OTHER -j DROP\n-A X-A -s 10.0.0.0/8 -g X-B\n-A X-B -j RETURN\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
	have, err := ParseRules(text, "X-")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseRules(have.String(), "X-")
	if err != nil || !Equal(have, again) || !Equal(again, have) {
		t.Errorf("%v; printed as\n%s", err, have)
	}
	if s := have.String(); strings.Contains(s, "OTHER") || strings.Contains(s, "filter") || !strings.Contains(s, "-A PREROUTING -j X-A\n") {
		t.Errorf("printed as\n%s", s)
	}
}
