package kernel

import (
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

// IPv6 is done without when the kernel or its tools say no, or when there are no tools, and
// not for a reason that is over with the next start.
func TestRefused(t *testing.T) {
	for why, is := range map[error]bool{
		unix.EAFNOSUPPORT:                            true,
		exec.Command("sh", "-c", "exit 2").Run():     true,
		netutil.ErrAbsent:                            true,
		exec.Command("sh", "-c", "kill -9 $$").Run(): false,
		netutil.ErrBusy:                              false,
		unix.ENOBUFS:                                 false,
	} {
		if refused(fmt.Errorf("try: %w", why)) != is {
			t.Errorf("%v: refused is %v", why, !is)
		}
	}
}
