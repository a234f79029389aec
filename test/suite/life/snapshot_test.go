package life

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// snapshot is the objects of a node as other tools show them, a line an object.
// Settings are left out: they are never taken back.
type snapshot []string

// Of iptables there are two variants, and a host may have one of them only.
// All tables of routes are looked at, and not only the local one: nothing else
// may change. "ipset save -sorted" loses ports of large sets (ipset 7.17), so
// that sorting is left to us. Where kernels keep the virtual servers of all network
// namespaces in one table, up to 6.12 at least, ipvsadm leaves some out while other tests add
// theirs: two answers in a row have to be the same.
const inspect = `
for tool in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save; do
  ! command -v $tool >/dev/null || { echo "= $tool"; $tool; }
done
echo '# others'
echo '# nft'; for f in ip ip6; do nft -s list table $f kube-ipvs 2>/dev/null || true; done
echo '# ipset'; ipset save
echo '# link'; ip -d -o link show dev kube-ipvs0 2>/dev/null || true
echo '# addresses'; ip -d -o addr show dev kube-ipvs0 2>/dev/null || true
echo '# routes'; ip route show table all; ip -6 route show table all
echo '# rules'; ip rule; ip -6 rule
echo '# ipvs'
last=none; for i in $(seq 50); do now=$(ipvsadm-save -n | sort); [ "$now" != "$last" ] || break; last=$now; done; echo "$now"`

func (n *node) snapshot() snapshot {
	n.t.Helper()
	saved, rest, _ := strings.Cut(n.sh(inspect), "# others\n")
	out := tables(saved)
	title, seen := "", map[string]bool{}
	var lines snapshot
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "# ") {
			title = line
		}
		line = title + ": " + chance(line)
		// `ip -6 route show table all` prints the routes of table main twice.
		if !seen[line] && !byKernel.MatchString(line) {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return append(out, lines...)
}

// tables returns the lines of iptables-save, in its order, without counters and dates,
// and without tables that hold only the empty built-in chains.
func tables(saved string) []string {
	var out, table []string
	used := false
	for line := range strings.Lines(saved) {
		line = counters.ReplaceAllString(strings.TrimSpace(line), "")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "="):
			out = append(out, line)
		case strings.HasPrefix(line, "*"):
			table, used = []string{line}, false
		case line == "COMMIT":
			if used {
				out = append(out, table...)
			}
		default:
			used = used || !strings.HasSuffix(line, " ACCEPT") || strings.HasPrefix(line, "-")
			table = append(table, line)
		}
	}
	return out
}

var (
	counters = regexp.MustCompile(` ?\[\d+:\d+\]$`)
	// Random and counted values: hash seeds and sizes of sets, the numbers and
	// hardware addresses of links; and the queue that a link keeps from the first time
	// that it is set up.
	lots = regexp.MustCompile(`( qdisc \S+| initval \S+| hashsize \d+| bucketsize \d+|^\d+: |link/ether \S+)`)
)

// byKernel is the objects that the kernel adds unasked: link-local addresses and their
// routes, and the anycast addresses of a router, which forwarding, a setting, makes of
// a node.
var byKernel = regexp.MustCompile(`fe80::|routes: anycast .* proto kernel`)

func chance(line string) string { return lots.ReplaceAllString(line, "") }

// same fails the test unless two snapshots are equal.
func (n *node) same(what string, want, got snapshot) {
	n.t.Helper()
	if diff := difference(want, got); diff != "" {
		n.t.Errorf("%s (-1 is missing, +1 too much):\n%s", what, diff)
	}
}

// difference returns the lines in which two snapshots differ, and "" for equal ones.
func difference(want, got snapshot) string {
	if slices.Equal(want, got) {
		return ""
	}
	count := map[string]int{}
	for _, line := range want {
		count[line]++
	}
	for _, line := range got {
		count[line]--
	}
	var out []string
	for line, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", -n, line))
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "the order of rules"
	}
	const most = 40
	return strings.Join(out[:min(most, len(out))], "\n")
}

// without returns the snapshot without the lines that match.
func (s snapshot) without(match *regexp.Regexp) snapshot {
	return slices.DeleteFunc(slices.Clone(s), match.MatchString)
}

// count returns how many lines match.
func (s snapshot) count(match string) int {
	return len(s) - len(s.without(regexp.MustCompile(match)))
}
