// Package xtables plays nodes whose iptables is of another version than the one of
// kube-ipvs, which is the image's: the host's writes and reads the rules of others,
// the other one those of kube-ipvs. It runs in the lab.
package xtables

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kube-ipvs/test/lib/pod"
	"kube-ipvs/test/lib/testbed"
)

var (
	bed      *testbed.Bed
	binary   = os.Getenv("KUBE_IPVS_BINARY")
	families = []string{"iptables", "ip6tables"}
)

var every = flag.Bool("every", false, "play every version beside every other, which takes some minutes")

func TestMain(m *testing.M) {
	if err := pod.Become(); err != nil {
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(125)
	}
	testbed.Main(m, "make lab-test LAB_PACKAGES=test/suite/xtables", prepare, func() { bed.Close() })
}

func prepare(ctx context.Context) (err error) {
	if bed, err = testbed.New(ctx); err != nil {
		return err
	}
	_, err = bed.Serve(bed.P1, testbed.TargetPort, "p1")
	return err
}

// version is an iptables of a distribution's release, as test/xtables/build has it.
type version struct{ suite, number string }

func (v version) String() string { return v.number + "-" + v.suite }

// tool returns one of its programs.
func (v version) tool(name string) string { return filepath.Join(folder(), v.suite, "bin", name) }

// has reports whether it has a variant: before 1.8 there was legacy only.
func (v version) has(variant string) bool {
	_, err := os.Stat(v.tool("iptables-" + variant))
	return err == nil
}

func folder() string { return os.Getenv("KUBE_IPVS_XTABLES") }

// release returns the version of a release.
func release(t *testing.T, suite string) version {
	t.Helper()
	number, err := os.ReadFile(filepath.Join(folder(), suite, "version"))
	if err != nil {
		t.Fatalf("KUBE_IPVS_XTABLES must be the output of test/xtables/build: %v", err)
	}
	return version{suite, strings.TrimSpace(string(number))}
}

func releases(t *testing.T, suites ...string) (out []version) {
	t.Helper()
	for _, s := range suites {
		out = append(out, release(t, s))
	}
	return out
}

func on(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := bed.Node.Shell(context.WithoutCancel(t.Context()), fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return out
}
