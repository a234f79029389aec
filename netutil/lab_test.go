package netutil

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNetns runs f in a new network namespace on a thread of its own, which ends
// with it. Without the privilege the test is skipped, or fails in a lab.
func inNetns(t testing.TB, f func()) {
	t.Helper()
	var denied error
	done := make(chan struct{})
	go func() {
		defer close(done) // also when f ends the goroutine, as t.Fatal does
		runtime.LockOSThread()
		if denied = unix.Unshare(unix.CLONE_NEWNET); denied == nil {
			// A namespace that ends with rules of nftables in it stops Linux 4.18
			// (nf_tables_chain_destroy).
			defer func() { _ = exec.Command("nft", "flush", "ruleset").Run() }()
			f()
		}
	}()
	<-done
	if denied != nil {
		lacks(t, "a network namespace of its own: %v", denied)
	}
}

// lacks skips a test for which this machine lacks something.
func lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("KUBE_IPVS_LAB") == "1" {
		t.Fatalf("the lab lacks "+format, args...)
	}
	t.Skipf("this machine lacks "+format, args...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
}

// newNetns gives the calling goroutine a thread and a network namespace.
func newNetns(b *testing.B) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		lacks(b, "a network namespace of its own: %v", err)
	}
}
