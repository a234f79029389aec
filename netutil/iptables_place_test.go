package netutil

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inFront is a situation of one built-in chain: the place that our two jumps are to have
// there, what stands there by whom, and what is to stand there in the end. A and B are ours.
type inFront struct {
	place             Place
	stands, want, how string
}

var inFronts = []inFront{
	{First, "A B x", "A B x", ""},
	{First, "x A B", "A B x", "the jump to x stands in front"},
	{First, "A x B", "A B x", "the jump to x stands in front"},
	{First, "B A x", "A B x", "the jumps are in another order"},
	{First, "DROP A B", "A B DROP", "a rule for DROP stands in front"},
	{First, "REJECT x A B", "A B REJECT x", "a rule for REJECT stands in front"},
	{First, "cali-x A B x", "cali-x A B x", ""},
	{First, "cali-x cali-y A B", "cali-x cali-y A B", ""},
	{First, "cali-x x A B", "cali-x A B x", "the jump to x stands in front"},
	{First, "x cali-x A B", "A B x cali-x", "the jump to x stands in front"},
	{First, "A B cali-x", "A B cali-x", ""},
	{First, "x x", "A B x x", "+"},
	{First, "cali-x x", "cali-x A B x", "+"},
	{First, "A x", "A B x", "+"},
	{First, "A B A x", "A B x", "-"},
	{Behind, "x cali-x A B", "x cali-x A B", ""},
	{Behind, "A B cali-x x", "cali-x A B x", "the jump to cali-x stands behind"},
	{Behind, "x cali-x x A B", "x cali-x A B x", "the jump to x stands in front"},
	{Behind, "DROP A B", "A B DROP", "a rule for DROP stands in front"},
	{Behind, "x cali-x x", "x cali-x A B x", "+"},
	{Behind, "", "A B", "+"},
	{Anywhere, "x A B", "x A B", ""},
	{Anywhere, "A x B cali-x", "A x B cali-x", ""},
	{Anywhere, "cali-x x", "cali-x A B x", "+"},
}

// Our jumps are put where they are to stand, and only if they do not; what is in the
// way is named, and seen with a look.
func TestPlaces(t *testing.T) {
	eachBackend(t, func(t *testing.T, b Backend, family Family) {
		if family == IPv6 {
			return // which differs in nothing that matters here, and takes seconds
		}
		const chains = "*filter\n:KIPVS-A - [0:0]\n:KIPVS-B - [0:0]\n"
		want := parse(t, chains+"-A INPUT -j KIPVS-A\n-A INPUT -j KIPVS-B\nCOMMIT\n")
		restore := func(input string) { t.Helper(); must(t, b.Restore(t.Context(), family, input)) }
		restore(chains + ":x - [0:0]\n:cali-x - [0:0]\n:cali-y - [0:0]\nCOMMIT\n")
		for _, tt := range inFronts {
			o := Ours{Prefix: "KIPVS", Guests: "cali-", Places: map[Chain]Place{{"filter", "INPUT"}: tt.place}}
			read := func() Ruleset {
				t.Helper()
				have, err := b.ReadRules(t.Context(), family, o)
				must(t, err)
				return have
			}
			restore(fillInput(tt.want))
			if have := read(); !Equal(have, want) || have.Misplaced() != nil {
				t.Errorf("%v: differs: %q", tt, Missing(have, want))
			}
			before, err := b.MarkRules(family, o, want, Mark{})
			must(t, err)
			restore(fillInput(tt.stands))
			close, err := b.MarkRules(family, o, want, Mark{})
			must(t, err)
			look, err := b.MarkRules(family, o, want, before)
			must(t, err)
			have := read()
			differ := strings.Join(Missing(have, want), "|")
			wrong := strings.Contains(tt.how, "stands")
			if (differ == "") != (tt.how == "") || !strings.Contains(differ, tt.how) || close.Misplaced() != wrong || (have.Misplaced() != nil) != wrong {
				t.Errorf("%v: differs %q, misplaced %q and %v", tt, differ, have.Misplaced(), close.Misplaced())
			}
			if same := tt.how == ""; close.Same(before) != same || look.Same(before) != same && !(tt.how == "-" || b == Legacy) {
				t.Errorf("%v: the marks are the same: %v and %v", tt, close.Same(before), look.Same(before))
			}
			if tolerated := have.Tolerated(); wrong && !Equal(tolerated, want) || have.Misplaced() == nil && wrong {
				t.Errorf("%v: differs, if tolerated: %q", tt, Missing(tolerated, want))
			}
			restore(RestoreInput(want, have))
			if got := order(t, b, family); got != tt.want {
				t.Errorf("%v: got %q", tt, got)
			}
		}
	})
}

// fillInput returns what makes INPUT hold rules, each the name of a chain or a target.
func fillInput(rules string) string {
	var in strings.Builder
	in.WriteString("*filter\n-F INPUT\n")
	for _, r := range strings.Fields(rules) {
		switch {
		case len(r) == 1 && r != "x":
			r = "KIPVS-" + r
		case strings.ToUpper(r) == r:
			r += " -p tcp"
		}
		fmt.Fprintf(&in, "-A INPUT -j %s\n", r)
	}
	return in.String() + "COMMIT\n"
}

// order returns what fillInput has taken, of what there is.
func order(t *testing.T, b Backend, family Family) string {
	t.Helper()
	var out []string
	for _, l := range strings.Split(saved(t, b, family), "\n") {
		if rule, ok := strings.CutPrefix(l, "-A INPUT "); ok {
			words := strings.Fields(strings.TrimPrefix(rule[strings.Index(rule, "-j ")+3:], "KIPVS-"))
			out = append(out, words[0])
		}
	}
	return strings.Join(out, " ")
}

// A look at a place costs nothing for rules behind it, and little for those in front,
// however many there are.
func TestPlacesBesideManyRules(t *testing.T) {
	eachFamily(t, func(t *testing.T, family Family) {
		const n = 3000
		many := strings.Repeat("-A INPUT -p tcp --dport 1 -j ACCEPT\n", n)
		want := parse(t, "*filter\n:KIPVS-A - [0:0]\n-A INPUT -j KIPVS-A\nCOMMIT\n")
		o := Ours{Prefix: "KIPVS"}
		must(t, NFT.Restore(t.Context(), family, "*filter\n:KIPVS-A - [0:0]\n-A INPUT -j KIPVS-A\n"+many+"COMMIT\n"))
		before, err := NFT.MarkRules(family, o, want, Mark{})
		must(t, err)
		look := func(same bool) {
			t.Helper()
			answers := countNFT(t, family, o, len(before.stands))
			m, err := NFT.MarkRules(family, o, want, before)
			if err != nil || m.Same(before) != same || answers > headLimit {
				t.Errorf("same %v, %v, of %d rules", m.Same(before), err, answers)
			}
		}
		look(true)
		must(t, NFT.Restore(t.Context(), family, "*filter\n-I INPUT 1 -j ACCEPT\nCOMMIT\n"))
		look(false)
		have, err := NFT.ReadRules(t.Context(), family, o)
		must(t, err)
		if got := have.Misplaced(); !slices.Equal(got, []string{"filter INPUT: a rule for ACCEPT stands in front"}) {
			t.Errorf("misplaced %q", got)
		}
		must(t, NFT.Restore(t.Context(), family, RestoreInput(want, have)))
		if have, err = NFT.ReadRules(t.Context(), family, o); err != nil || !Equal(have, want) {
			t.Errorf("%q, %v", Missing(have, want), err)
		}
	})
}

// countNFT returns how many rules a look at our jumps in INPUT takes in.
func countNFT(t *testing.T, family Family, o Ours, jumps int) int {
	t.Helper()
	c, err := Dial(unix.NETLINK_NETFILTER)
	must(t, err)
	defer c.Close()
	found, k, err := nftHead(c, family, Chain{"filter", "INPUT"}, o, jumps)
	must(t, err)
	return len(found) + k.others
}
