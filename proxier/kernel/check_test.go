package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// The kernel refuses when it lacks something or there are no tools, and not for a reason that is
// over with the next start, or that a tool does not tell.
func TestRefused(t *testing.T) {
	for why, is := range map[error]bool{
		unix.EAFNOSUPPORT: true,
		&netutil.MissingModules{Err: errors.New("no REJECT")}: true,
		netutil.ErrAbsent:                            true,
		exec.Command("sh", "-c", "exit 2").Run():     false,
		exec.Command("sh", "-c", "kill -9 $$").Run(): false,
		netutil.ErrBusy:                              false,
		unix.ENOBUFS:                                 false,
	} {
		if refused(fmt.Errorf("try: %w", why)) != is {
			t.Errorf("%v: refused is %v", why, !is)
		}
	}
}

// What IPv6 lacks ends the start of a node whose primary family it is.
func TestPrimaryIPv6(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	type addrs = []netip.Addr
	for _, tt := range []struct {
		configured, found addrs
		want              bool
	}{
		{nil, nil, false}, {nil, addrs{v4}, false}, {nil, addrs{v4, v6}, false}, {nil, addrs{v6}, true},
		{addrs{v6, v4}, addrs{v4, v6}, true}, {addrs{v4, v6}, addrs{v4, v6}, false}, {addrs{v4}, addrs{v6}, false}, {addrs{v6}, addrs{v4, v6}, true},
	} {
		if is := primaryIPv6(tt.configured, tt.found); is != tt.want {
			t.Errorf("configured %v, found %v: %v", tt.configured, tt.found, is)
		}
	}
}

// fakeTool puts an iptables-nft-restore on the PATH that ends as script says of its input,
// $in.
func fakeTool(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\ntried=" + filepath.Join(dir, "tried") + "\nin=$(cat)\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "iptables-nft-restore"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// Each extension that the tool refuses is named with its module. A tool that refuses
// everything, or from some time on, does not prove that a module is missing, nor does one that
// waits for another program.
func TestCheckExtensions(t *testing.T) {
	rules := "*nat\n:KIPVS-A - [0:0]\n-A KIPVS-A -m set --match-set KIPVS-ALL dst -j NETMAP --to 240.0.0.0/5\n-A KIPVS-A -m mark --mark 1 -j MASQUERADE\nCOMMIT\n"
	for name, tt := range map[string]struct {
		script  string
		modules []string // missing ones
		fails   bool     // for another reason
	}{
		"all works":           {script: "exit 0"},
		"two are refused":     {script: `case "$in" in *NETMAP*|*MASQUERADE*) exit 1; esac`, modules: []string{"xt_NETMAP", "ipt_MASQUERADE"}},
		"nothing works":       {script: "exit 1", fails: true},
		"memory is gone":      {script: `case "$in" in *mark*) echo >$tried; esac; [ ! -e $tried ] || exit 1`, fails: true},
		"the lock is held":    {script: `case "$in" in *mark*) echo Another app is currently holding the xtables lock >&2; exit 4; esac`, fails: true},
		"one waits for it":    {script: `case "$in" in *NETMAP*mark*) exit 1;; *mark*) echo Another app is currently holding the xtables lock >&2; exit 4; esac`, fails: true},
		"loaded in the while": {script: `[ -e $tried ] || { echo >$tried; exit 1; }`},
	} {
		t.Run(name, func(t *testing.T) {
			fakeTool(t, tt.script)
			l := &Linux{View: View{backend: netutil.NFT}}
			var missing netutil.MissingModules
			err := l.checkExtensions(ctx, state.IPv4, extensionsOf(rules, state.IPv4, "S"), &missing)
			if (err != nil) != tt.fails || refused(err) || !slices.Equal(missing.Modules, tt.modules) {
				t.Errorf("missing %v, %v", missing.Modules, err)
			}
		})
	}
}

// After a change of variant the nftables table of kube-ipvs still stands, and proves nothing of
// the new variant, nor do rules of another version of kube-ipvs. Rules that the present
// variant holds need no trial.
func TestCheckTriesRulesThatDoNotStand(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend netutil.Backend) {
		needs := testNeeds("rr")
		l := openLinux(t, backend)
		defer l.Close()
		if _, err := l.Check(ctx, needs); err != nil { // as every start does: the first write waits for no module
			t.Fatal(err)
		}
		mend(t, l)
		before := l.Stats().Processes
		if _, err := l.Check(ctx, needs); err != nil || l.Stats().Processes != before {
			t.Errorf("rules that stand were tried: %d processes, %v", l.Stats().Processes-before, err)
		}
		for i := range needs.Rules {
			needs.Rules[i] = "*filter\n:" + prefix(l.families()[i]) + "NEW - [0:0]\n-A " + prefix(l.families()[i]) + "NEW -m lacks\nCOMMIT\n"
		}
		other := openLinux(t, backend.Other())
		defer other.Close()
		for name, l := range map[string]*Linux{"new rules": l, "new variant": other} {
			if _, err := l.Check(ctx, needs); err == nil || !strings.Contains(err.Error(), "xt_lacks") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
