package main

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// A node that has never run kube-ipvs, with a kernel with IPVS or without: cleanup succeeds any
// number of times, and leaves no table that was not there.
func TestCleanupLeavesNoTrace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	runtime.LockOSThread() // for good: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), silentCommand+"=cleanup", silentKernel+"=no")
		if out, err := cmd.Output(); err != nil || string(out) != "removed 0 objects\n" {
			t.Errorf("cleanup: %v: %s", err, out)
		}
	}
	for _, family := range []netutil.Family{netutil.IPv4, netutil.IPv6} {
		if has, err := netutil.HasNFTable(family, "filter"); err != nil || has {
			t.Errorf("there is a table filter of nftables for %s: %v, %v", family, has, err)
		}
	}
	if tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names"); err == nil && len(tables) > 0 {
		t.Errorf("there are legacy tables:\n%s", tables)
	}
}
