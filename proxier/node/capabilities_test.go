package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func dropAsRole() error {
	var begun sync.WaitGroup
	for range 8 { // threads that are there before
		begun.Add(1)
		go func() { runtime.LockOSThread(); begun.Done(); select {} }()
	}
	begun.Wait()
	kept, err := DropCapabilities()
	if err != nil {
		return err
	}
	again, err := DropCapabilities()
	if err != nil || !slices.Equal(kept, again) {
		return fmt.Errorf("again: %v, %w", again, err)
	}
	fmt.Println(strings.Join(kept, " "))
	return report()
}

var capLine = regexp.MustCompile(`(?m)^Cap(Inh|Prm|Eff|Bnd|Amb):.*`)

// report prints the different capability sets of all threads, those of a
// child, and whether the child can use iptables.
func report() error {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return err
	}
	var all []string
	for _, f := range files {
		p, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		all = append(all, strings.Join(strings.Fields(strings.Join(capLine.FindAllString(string(p), -1), " ")), " "))
	}
	slices.Sort(all)
	fmt.Println(len(files) > 8, strings.Join(slices.Compact(all), "; "))
	child, err := exec.Command("sed", "-n", "s/^CapEff:[[:space:]]*//p", "/proc/self/status").Output()
	if err != nil {
		return err
	}
	fmt.Println("child", strings.TrimSpace(string(child)))
	for _, tool := range []string{"iptables-legacy", "iptables-nft"} {
		out, err := exec.Command(tool, "-t", "nat", "-N", "TEST").CombinedOutput()
		fmt.Println(tool, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// dropped runs the role in a network namespace of its own, by way of others.
func dropped(t *testing.T, by ...string) []string {
	t.Helper()
	out, err := as("drop", by...).CombinedOutput()
	if strings.Contains(string(out), unix.ENOTSUP.Error()) {
		t.Skip("built with cgo") // as with -race
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		lacks(t, "%s: %v", by[0], err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func needTools(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("unshare", "--net", "setpriv", "--reuid", "0", "iptables-legacy", "-t", "nat", "-S").CombinedOutput(); err != nil {
		lacks(t, "network namespaces with iptables: %v %s", err, out)
	}
}

const (
	both  = "0000000000003000" // bits 12 and 13: linux/capability.h
	admin = "0000000000001000"
	zero  = "0000000000000000"
)

func sets(inh, prm, eff, bnd, amb string) string {
	return fmt.Sprintf("true CapInh: %s CapPrm: %s CapEff: %s CapBnd: %s CapAmb: %s", inh, prm, eff, bnd, amb)
}

func TestDropCapabilities(t *testing.T) {
	needTools(t)
	bound := func() string { // of a process without CAP_SETPCAP, that of its parent
		p, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(regexp.MustCompile(`CapBnd:.*`).FindString(string(p)))[1]
	}()
	legacy := []string{"iptables-legacy <nil>", "iptables-nft <nil>"}
	for _, tt := range []struct {
		name string
		by   string
		want []string
	}{
		{"root", "unshare --net", append([]string{"CAP_NET_ADMIN CAP_NET_RAW", sets(both, both, both, both, zero), "child " + both}, legacy...)},
		{"root without CAP_SETPCAP", "unshare --net capsh --drop=cap_setpcap --",
			append([]string{"CAP_NET_ADMIN CAP_NET_RAW", sets(both, both, both, minus(bound, unix.CAP_SETPCAP), zero), "child " + minus(bound, unix.CAP_SETPCAP)}, legacy...)},
		{"root of an unprivileged container", "unshare --net setpriv --bounding-set -all,+net_admin,+net_raw",
			append([]string{"CAP_NET_ADMIN CAP_NET_RAW", sets(both, both, both, both, zero), "child " + both}, legacy...)},
		{"user with both", "unshare --net setpriv --reuid 65534 --clear-groups --inh-caps -all,+net_admin,+net_raw --ambient-caps -all,+net_admin,+net_raw",
			[]string{"CAP_NET_ADMIN CAP_NET_RAW", sets(both, both, both, bound, both), "child " + both}},
		{"user with CAP_NET_ADMIN", "unshare --net setpriv --reuid 65534 --clear-groups --inh-caps -all,+net_admin --ambient-caps -all,+net_admin",
			[]string{"CAP_NET_ADMIN", sets(admin, admin, admin, bound, admin), "child " + admin}},
		{"user with nothing", "unshare --net setpriv --reuid 65534 --clear-groups --inh-caps -all",
			[]string{"error: the capability CAP_NET_ADMIN is missing: run as root with it, or grant it to the container"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			by := strings.Fields(tt.by)
			if by[len(by)-1] == "--" { // capsh hands what follows to a shell
				by = append(by, "-c", `exec "$0"`)
			}
			got := dropped(t, by...)
			if len(got) > len(tt.want) {
				got = got[:len(tt.want)]
			}
			for i := range got {
				got[i] = strings.TrimSpace(got[i])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// minus takes a bit out of a set in hex.
func minus(set string, bit uint) string {
	var n uint64
	if _, err := fmt.Sscanf(set, "%x", &n); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%016x", n&^(1<<bit))
}
