package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// suite is a column of the table.
type suite struct {
	name     string
	packages []string
	run      string // -test.run; all if empty
	skip     string // -test.skip
	what     string // for readers
	fresh    bool   // its tests want a machine on which nothing is loaded
	append   string // for the kernel's command line
	weight   int    // how long it takes, in minutes
}

// suites are the columns of the table of make test-kernels.
var suites = []*suite{
	{name: "host", packages: []string{"test/suite/life"}, run: "^TestFresh$/^host$", fresh: true, weight: 1,
		what: "`kube-ipvs run` on the host, where none of its modules is loaded: the first start programs all, a second one writes nothing, and `kube-ipvs cleanup` leaves no trace"},
	{name: "nft", packages: []string{"test/suite/life"}, run: "^TestFresh$/^nft$", fresh: true, weight: 1,
		what: "the same by the chart's two containers, in the image's files and with their rights, without kmod"},
	{name: "legacy", packages: []string{"test/suite/life"}, run: "^TestFresh$/^legacy$", fresh: true, weight: 1,
		what: "the same with legacy iptables"},
	{name: "unprivileged", packages: []string{"test/suite/life"}, run: "^TestFresh$/^unprivileged$", fresh: true, weight: 1,
		what: "as `host`, but without CAP_SYS_MODULE, so that no module can be loaded by its name"},
	{name: "missing", packages: []string{"test/suite/life"}, run: "^TestMissing$/.", fresh: true, weight: 2,
		what: "a kernel that lacks modules: the start ends with the names of those that are needed, and goes on without the rest"},
	{name: "contract", packages: []string{"proxier/kernel", "proxier/kernel/ipvs", "ipset", "proxier/node", "netutil"}, skip: "Many|RandomEntries", weight: 4,
		what: "what the packages that talk to the kernel promise to the others, without tests of sheer size"},
	{name: "wire", packages: []string{"test/suite/wire"}, run: wirePart, weight: 8,
		what: "some of the tests by packets, at least one of each thing that the kernel does for kube-ipvs: also SCTP, flows of UDP, and connections whose endpoint goes"},
	{name: "life", packages: []string{"test/suite/life"}, run: "^(TestRestart|TestCleanupIsComplete|TestCleanupOfLegacyIPTables|TestCapabilitiesAreDropped)$", weight: 3,
		what: "some of the tests of starts, stops and clean-up on a node"},
	{name: "takeover", packages: []string{"test/suite/takeover"}, run: "^TestHandover$/^(ipvs|iptables)_to_image$", weight: 2,
		what: "a node changes hands from kube-proxy in mode ipvs and iptables, while connections go on"},
}

// more suites are played where they are asked for.
var more = []*suite{
	{name: "nft-alone", packages: []string{"test/suite/life"}, run: "^TestWithout$/^legacy$", fresh: true, weight: 2,
		what: "a kernel without legacy tables, as RHEL 9's: the chart's two containers, and then a `kube-ipvs run` on the host, take nft unasked, serve, and are cleaned up, also while a sysctl switches IPv6 off"},
	{name: "legacy-alone", packages: []string{"test/suite/life"}, run: "^TestWithout$/^nftables$", fresh: true, weight: 2,
		what: "the same without nftables: they take legacy"},
	{name: "ipv4-alone", packages: []string{"test/suite/life"}, run: "^TestWithout$/^IPv6$", fresh: true, append: "ipv6.disable=1", weight: 2,
		what: "the same with `ipv6.disable=1` on the kernel's command line: IPv4 is served, and IPv6 warned of once"},
}

// wirePart has at least one test of each thing that the kernel does for kube-ipvs.
const wirePart = "^(TestReach|TestHairpin|TestDrain|TestRefuse|TestAffinity|TestVIPBinding|TestExternalLocal|TestScheduler|" +
	"TestSCTP|TestUDPMoves|TestHeldBeyondEndpoint)$"

// whole are the suites that are all tests of a package each.
func whole(packages ...string) (out []*suite) {
	for _, pkg := range packages {
		out = append(out, &suite{name: pkg, packages: []string{pkg}, weight: 60})
	}
	return out
}

// binary is where the tests of a package are.
func binary(pkg string) string {
	return "out/lab/" + strings.ReplaceAll(pkg, "/", "-") + ".test"
}

// build makes the tests of suites.
func build(ctx context.Context, suites []*suite) error {
	built := map[string]bool{}
	for _, s := range suites {
		for _, pkg := range s.packages {
			if built[pkg] {
				continue
			}
			built[pkg] = true
			cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary(pkg), "./"+pkg)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			cmd.Stderr = os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("build the tests of %s: %w", pkg, err)
			}
		}
	}
	return nil
}

// unplayed names the packages and the chosen tests of which none, and the number of chosen
// parts of which fewer have passed or failed.
func (s *suite) unplayed(kernel string, o outcome) (out []string) {
	tests, parts, some := strings.Cut(s.run, "/")
	for _, pkg := range s.packages {
		played := slices.Concat(o.passed[pkg], o.failed[pkg])
		if len(played) == 0 {
			out = append(out, pkg+": nothing was played")
		}
		for _, test := range strings.FieldsFunc(tests, func(r rune) bool { return strings.ContainsRune("^(|)$", r) }) {
			limited := slices.ContainsFunc(limitsOf(kernel, s.name), func(l limit) bool { return l.test == test })
			if !limited && !slices.Contains(played, test) {
				out = append(out, test+" was not played")
			}
		}
	}
	if want := strings.Count(parts, "|") + 1; some && o.parts < want {
		out = append(out, fmt.Sprintf("%d of %d parts of a test were played", o.parts, want))
	}
	return out
}

// script returns the script of a machine: the tests of the packages that its kernel
// can run, or the named ones, one package after the other.
func (s *suite) script(kernel string, named map[string][]string) string {
	skip := s.skipped(kernel)
	root, _ := os.Getwd()
	var out strings.Builder
	for _, pkg := range s.packages {
		tests, only := s.run, named[pkg]
		if named != nil && only == nil {
			continue
		}
		// A test that has parts keeps those that were chosen.
		if _, part, ok := strings.Cut(s.run, "/"); only != nil && ok {
			tests = "^(" + strings.Join(only, "|") + ")$/" + part
		} else if only != nil {
			tests = "^(" + strings.Join(only, "|") + ")$"
		}
		fmt.Fprintf(&out, "cd '%s'; echo '=== PACKAGE %s'; '%s' -test.v -test.timeout 3h -test.run '%s' -test.skip '%s'; echo \"=== ENDED $?\"\n",
			filepath.Join(root, pkg), pkg, filepath.Join(root, binary(pkg)), tests, skip)
	}
	return out.String()
}
