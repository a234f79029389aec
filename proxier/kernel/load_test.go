package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/kernel/ipvs"
)

// The remedy comes last and once, after the reasons in short. A held lock can be told from a
// lack, since a start then waits.
func TestNotLoadedEndsWithTheRemedy(t *testing.T) {
	busy := fmt.Errorf("iptables-restore: %w", netutil.ErrBusy)
	for _, tt := range []struct {
		refusing []string
		other    error
		want     string
	}{
		{nil, nil, "the kernel has no IPVS: "},
		{[]string{"iptables-nft", "iptables-legacy"}, nil, "the kernel has no IPVS (a rule of iptables-nft or iptables-legacy does not load it): "},
		{[]string{"iptables-nft"}, busy, "the kernel has no IPVS (a rule of iptables-nft does not load it) (iptables-restore: another program holds the xtables lock): "},
	} {
		err := notLoaded(ipvs.ErrNoIPVS, tt.refusing, tt.other)
		if want := tt.want + netutil.Lacks("ip_vs"); err.Error() != want {
			t.Errorf("it says %q, want %q", err, want)
		}
		if errors.Is(err, netutil.ErrBusy) != (tt.other != nil) {
			t.Errorf("another program holds the lock: %q", err)
		}
	}
}

// Load says in a short line that a kernel has no IPVS, and else IPVS is loaded.
func TestLoadIsShort(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	var err error
	inNetns(t, func() { _, err = Load(t.Context(), "") })
	loaded, failed := ipvs.Loaded()
	if failed != nil || loaded != (err == nil) {
		t.Errorf("IPVS is loaded: %t, %v; and Load says %v", loaded, failed, err)
	}
	if err == nil {
		return
	}
	if text := err.Error(); len(text) > 350 || !strings.HasSuffix(text, netutil.Lacks("ip_vs")) {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}
