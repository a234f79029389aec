package netutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ours writes what is ours in TestRulesLife beside what is foreign.
func ours(t *testing.T, b Backend, family Family) Ruleset {
	t.Helper()
	must(t, b.Restore(t.Context(), family, foreign))
	want := parse(t, wanted(family))
	must(t, b.Restore(t.Context(), family, RestoreInput(want, Ruleset{})))
	return want
}

// eachFamily runs f in fresh namespaces that have nftables.
func eachFamily(t *testing.T, f func(t *testing.T, family Family)) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		if b == NFT {
			f(t, family)
		}
	})
}

// Rules that iptables cannot express, wherever they stand, keep nothing from being
// read and written but their own chain's rules from being read.
func TestReadBesideWhatIPTablesCannotExpress(t *testing.T) {
	for _, tt := range []struct{ table, chain string }{
		{"raw", "MINE"}, {"raw", "PREROUTING"}, {"nat", "MINE"}, {"nat", "OUTPUT"}, {"filter", "INPUT"}, {"filter", "KIPVS-FILTER"}, {"nat", "KIPVS-NAT"},
	} {
		t.Run(tt.table+" "+tt.chain, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, family Family) {
				want := ours(t, NFT, family)
				if tt.table == "raw" {
					must(t, NFT.Restore(t.Context(), family, "*raw\n-A PREROUTING -p tcp -j ACCEPT\n-D PREROUTING -p tcp -j ACCEPT\nCOMMIT\n"))
				}
				unprintable(t, family, tt.table, tt.chain)
				read := func() Ruleset {
					t.Helper()
					have, err := NFT.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS-"})
					must(t, err)
					return have
				}
				have, own := read(), strings.HasPrefix(tt.chain, "KIPVS-")
				if Equal(have, want) == own {
					t.Errorf("differs: %q", Missing(have, want))
				}
				if own != slices.Equal(have.Unreadable(), []string{tt.table + " " + tt.chain}) {
					t.Errorf("unreadable: %q", have.Unreadable())
				}
				// What is ours is mended, and removed.
				must(t, NFT.Restore(t.Context(), family, RestoreInput(want, have)))
				if tt.table == "filter" {
					must(t, NFT.Restore(t.Context(), family, "*filter\n-F KIPVS-FILTER\n-D INPUT -j KIPVS-FILTER\nCOMMIT\n"))
				} else {
					must(t, NFT.Restore(t.Context(), family, "*nat\n-F KIPVS-NAT\n-D OUTPUT -j KIPVS-NAT\n-A OUTPUT -g KIPVS-MARK\nCOMMIT\n"))
				}
				must(t, NFT.Restore(t.Context(), family, RestoreInput(want, read())))
				if have := read(); !Equal(have, want) {
					t.Errorf("differs after repair: %q", Missing(have, want))
				}
				must(t, NFT.Restore(t.Context(), family, RestoreInput(Ruleset{}, read())))
				if have := read(); !Equal(have, Ruleset{}) {
					t.Errorf("left: %q", Missing(have, Ruleset{}))
				}
				if b, err := DetectBackend(t.Context(), "FOREIGN"); b != NFT || err != nil {
					t.Errorf("detected %s, %v", b, err)
				}
			})
		})
	}
}

// Reading changes nothing, not even the number that tells other programs to read
// the rules anew, and makes no chain. Old kernels count a transaction of nothing, with
// which the tools end.
func TestReadingChangesNothing(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		ip := map[Family]string{IPv4: "ip", IPv6: "ip6"}[family]
		nft(t, "add table "+ip+" filter", "add chain "+ip+" filter KIPVS-FILTER", "add rule "+ip+" filter KIPVS-FILTER counter accept")
		before := chainsOf(t, family)
		file, err := subscribeRules()
		must(t, err)
		defer file.Close()
		w := &ruleWatcher{}
		changeNothing(t)
		counted, _, err := w.drain(int(file.Fd()))
		must(t, err)
		have, err := NFT.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS-"})
		if err != nil || len(have.get("filter").own) != 1 || len(have.get("filter").own[0].rules) != 1 {
			t.Errorf("%v, %v", have, err)
		}
		if _, err := NFT.MarkRules(family, Ours{Prefix: "KIPVS-"}, have, Mark{}); err != nil {
			t.Error(err)
		}
		if read, some, err := w.drain(int(file.Fd())); read && !counted || some || err != nil {
			t.Errorf("an event: %v", err)
		}
		if after := chainsOf(t, family); !slices.Equal(before, after) {
			t.Errorf("chains were %v, are %v", before, after)
		}
	})
}

// changeNothing is a transaction of nothing.
func changeNothing(t *testing.T) {
	t.Helper()
	c, err := Dial(unix.NETLINK_NETFILTER)
	must(t, err)
	defer c.Close()
	var b Batch
	b.Begin(unix.NFNL_MSG_BATCH_BEGIN, 0, subsystem...)
	b.Begin(unix.NFNL_MSG_BATCH_END, 0, subsystem...)
	for i := range b.Len() {
		b.stamp(i, 0, uint32(i+1), c.pid)
	}
	must(t, c.send(b.buf, b.Len()))
}

func chainsOf(t *testing.T, family Family) []nftChain {
	t.Helper()
	c, err := Dial(unix.NETLINK_NETFILTER)
	must(t, err)
	defer c.Close()
	out, err := nftChains(c, family)
	must(t, err)
	return out
}

// The tool is asked for our chains only, among any others: the number of
// rules of others does not come into it.
func TestReadAsksForOurChainsOnly(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		want := ours(t, NFT, family)
		tool, err := NFT.tool(t.Context(), family, "restore")
		must(t, err)
		dir, path := t.TempDir(), os.Getenv("PATH")
		script := "#!/bin/sh\nPATH=" + path + "\ntee -a " + dir + "/asked | " + tool + " \"$@\"\n"
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(tool)), []byte(script), 0o755))
		t.Setenv("PATH", dir)
		have, err := NFT.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS-"})
		if err != nil || !Equal(have, want) {
			t.Errorf("%v, %v", have, err)
		}
		asked, err := os.ReadFile(dir + "/asked")
		must(t, err)
		// PREROUTING has a jump of ours with a match, which only the tool can spell.
		const wanted = "*nat\n-S KIPVS-MARK\n-S KIPVS-NAT\n-S KIPVS-POST\n-S PREROUTING\nCOMMIT\n*filter\n-S KIPVS-FILTER\nCOMMIT\n"
		if got := strings.Split(string(asked), "\n"); !slices.Equal(sorted(got), sorted(strings.Split(wanted, "\n"))) {
			t.Errorf("asked %q", asked)
		}
	})
}

func sorted(s []string) []string { slices.Sort(s); return s }

func TestSteady(t *testing.T) {
	for _, tt := range []struct {
		reads [][]int // of which all but those that end with 0 are interrupted
		want  []int
		calls int
	}{
		{[][]int{{1, 0}}, []int{1, 0}, 1}, {[][]int{{1, 2}, {1, 2}}, []int{1, 2}, 2}, {[][]int{{1}, {1, 2}, {1}, {1}}, []int{1}, 4},
		{[][]int{{1}, {2, 0}}, []int{2, 0}, 2}, {[][]int{{1}, {2}, {1}, {2}, {1}}, nil, 5}, {[][]int{nil, nil}, nil, 2},
	} {
		calls := 0
		got, err := steady(func() ([]int, error) {
			calls++
			if now := tt.reads[calls-1]; len(now) > 0 && now[len(now)-1] == 0 {
				return now, nil
			}
			return tt.reads[calls-1], ErrInterrupted
		}, func(a, b int) bool { return a == b })
		if !slices.Equal(got, tt.want) || calls != tt.calls || (err != nil) != (calls == 5) {
			t.Errorf("%v: %v after %d calls, %v", tt.reads, got, calls, err)
		}
	}
}

func TestParseListErrors(t *testing.T) {
	asked := []Chain{{"nat", "A"}, {"nat", "B"}}
	for text, ok := range map[string]bool{
		"-N A\n-A A -j B\n# Warning\n-N B\n": true, "-N A\n-P B ACCEPT\n-A B -j A\n": true,
		"-N A\n": false, "-N B\n-N A\n": false, "-A A -j B\n": false, "-N A\n-N B\n-N C\n": false, "-N A\n-N B\nerror\n": false, "": false,
	} {
		out := map[Chain][]string{}
		if err := parseList(out, asked, text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzLegacyParser wants an error and no more where the kernel's answer is
// not what was expected.
func FuzzLegacyParser(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x00\x70\x00\xa0\x00", 80)), false)
	f.Fuzz(func(t *testing.T, p []byte, ipv6 bool) {
		s := &legacySocket{family: map[bool]Family{true: IPv6}[ipv6]}
		if _, err := s.parse("nat", legacyInfo{hooks: 1}, p); err != nil && !errors.Is(err, errLegacyShape) {
			t.Error(err)
		}
	})
}

// MarkRules of both variants tells what of ours has changed from what has not.
func TestMarkRules(t *testing.T) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		want := ours(t, b, family)
		restore := func(input string) { t.Helper(); must(t, b.Restore(t.Context(), family, input)) }
		mark := func() Mark {
			t.Helper()
			m, err := b.MarkRules(family, Ours{Prefix: "KIPVS-"}, want, Mark{})
			must(t, err)
			return m
		}
		first := mark()
		if !first.Same(mark()) || first.Same(Mark{}) || (Mark{}).Same(Mark{}) {
			t.Fatal("a mark is not like itself, or like the zero mark")
		}
		for _, others := range []string{
			"*nat\n:FOREIGN - [0:0]\n-A FOREIGN -p udp -j RETURN\nCOMMIT\n", "*nat\n-A PREROUTING -p tcp -j FOREIGN\n-I POSTROUTING 2 -j ACCEPT\nCOMMIT\n",
			"*filter\n:FOREIGN - [0:0]\n-A FOREIGN -j DROP\n-A INPUT -j FOREIGN\nCOMMIT\n", "*mangle\n-A INPUT -j ACCEPT\nCOMMIT\n",
			"*nat\n-D PREROUTING -m comment --comment \"kube ipvs\" -j KIPVS-NAT\n-I PREROUTING -m comment --comment \"kube ipvs\" -j KIPVS-NAT\nCOMMIT\n",
		} {
			restore(others)
			if !first.Same(mark()) {
				t.Errorf("not the same after %q", others)
			}
		}
		for _, broken := range []string{
			"*nat\n-D OUTPUT -j KIPVS-MARK\nCOMMIT\n", "*nat\n-F KIPVS-NAT\nCOMMIT\n", "*nat\n-F PREROUTING\nCOMMIT\n", "*nat\n-A KIPVS-NAT -j RETURN\nCOMMIT\n",
			"*nat\n-D KIPVS-NAT -m comment --comment foo -j RETURN\nCOMMIT\n", "*nat\n-R KIPVS-NAT 4 -m comment --comment fop -j RETURN\nCOMMIT\n",
			"*nat\n-R KIPVS-NAT 1 -j KIPVS-MARK\nCOMMIT\n", "*nat\n-I PREROUTING -p tcp -j FOREIGN\nCOMMIT\n", "*nat\n-D OUTPUT -j KIPVS-NAT\n-A OUTPUT -j KIPVS-NAT\nCOMMIT\n", "*filter\n-A FORWARD -j KIPVS-FILTER\nCOMMIT\n",
			"*mangle\n:KIPVS-OLD - [0:0]\n-A OUTPUT -j KIPVS-OLD\nCOMMIT\n", "*filter\n-D INPUT -j KIPVS-FILTER\n-A INPUT -s " + host(family) + " -j KIPVS-FILTER\nCOMMIT\n",
		} {
			restore(broken)
			if first.Same(mark()) {
				t.Errorf("the same after %q", broken)
			}
			have, err := b.ReadRules(t.Context(), family, Ours{Prefix: "KIPVS-"})
			must(t, err)
			if changed, err := b.ReadChangedRules(t.Context(), family, Ours{Prefix: "KIPVS-"}, want, first); err != nil || Equal(changed, want) {
				t.Errorf("read as if nothing had changed: %q, %v", broken, err)
			} else {
				have = changed
			}
			restore(RestoreInput(want, have))
			if !first.Same(mark()) {
				t.Errorf("not the same after the repair of %q", broken)
			}
		}
	})
}

func host(family Family) string { return map[Family]string{IPv4: "10.0.0.1", IPv6: "fd00::1"}[family] }

// A look at legacy rules that have not grown or shrunk is a look at nothing else; a
// close one is not.
func TestMarkRulesLooksClosely(t *testing.T) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		want := ours(t, b, family)
		before, err := b.MarkRules(family, Ours{Prefix: "KIPVS-"}, want, Mark{})
		must(t, err)
		look := func(before Mark) bool {
			t.Helper()
			m, err := b.MarkRules(family, Ours{Prefix: "KIPVS-"}, want, before)
			must(t, err)
			return m.Same(before)
		}
		must(t, b.Restore(t.Context(), family, "*nat\n-R KIPVS-NAT 3 -m addrtype --dst-type LOCAL -p 132 --dport 6 -j RETURN\nCOMMIT\n"))
		if look(before) != (b == Legacy) {
			t.Error("what was replaced: seen is", b == Legacy)
		}
		if m, err := b.MarkRules(family, Ours{Prefix: "KIPVS-"}, want, Mark{}); m.Same(before) || err != nil {
			t.Error("a close look saw nothing", err)
		}
		for _, broken := range []string{"*nat\n-A KIPVS-NAT -j RETURN\nCOMMIT\n", "*nat\n-D OUTPUT -j KIPVS-MARK\nCOMMIT\n", "*filter\n-F INPUT\nCOMMIT\n"} {
			before, err := b.MarkRules(family, Ours{Prefix: "KIPVS-"}, want, Mark{})
			must(t, err)
			if !look(before) {
				t.Error("nothing has changed")
			}
			must(t, b.Restore(t.Context(), family, broken))
			if look(before) {
				t.Errorf("not seen: %q", broken)
			}
		}
	})
}

// benchmarkRules makes a family's rules of n rules of others beside ours.
func benchmarkRules(b *testing.B, backend Backend, n int) Ruleset {
	newNetns(b)
	var input strings.Builder
	for _, table := range []string{"mangle", "nat", "filter"} {
		input.WriteString("*" + table + "\n")
		for c := range n / 300 {
			input.WriteString(":F" + strconv.Itoa(c) + " - [0:0]\n")
			for r := range 100 {
				input.WriteString("-A F" + strconv.Itoa(c) + " -s 10.0.0.1/32 -p tcp -m tcp --dport " + strconv.Itoa(r+1) + " -j RETURN\n")
			}
		}
		input.WriteString("COMMIT\n")
	}
	want := parse(b, wanted(IPv4))
	for _, in := range []string{input.String(), RestoreInput(want, Ruleset{})} {
		if err := backend.Restore(b.Context(), IPv4, in); err != nil {
			lacks(b, "iptables of backend %s: %v", backend, err)
		}
	}
	return want
}

// BenchmarkRules measures what it costs to look at our rules, closely and not, and to
// read them, beside rules of others.
func BenchmarkRules(b *testing.B) {
	for _, backend := range []Backend{NFT, Legacy} {
		for _, n := range []int{0, 3000, 50000} {
			for _, how := range []string{"look", "close", "read"} {
				b.Run(fmt.Sprintf("%s/others=%d/%s", backend, n, how), func(b *testing.B) {
					want := benchmarkRules(b, backend, n)
					first, err := backend.MarkRules(IPv4, Ours{Prefix: "KIPVS-"}, want, Mark{})
					must(b, err)
					before := first
					if how == "close" {
						before = Mark{}
					}
					for b.Loop() {
						if how == "read" {
							have, err := backend.ReadRules(b.Context(), IPv4, Ours{Prefix: "KIPVS-"})
							if err != nil || !Equal(have, want) {
								b.Fatal(err, Missing(have, want))
							}
						} else if m, err := backend.MarkRules(IPv4, Ours{Prefix: "KIPVS-"}, want, before); err != nil || !m.Same(first) {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
