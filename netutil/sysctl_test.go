package netutil

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSysctl(t *testing.T) {
	inNetns(t, func() {
		const name = "net/ipv4/conf/lo/forwarding"
		for _, want := range []string{"1", "0"} {
			must(t, WriteSysctl(name, want))
			if got, err := ReadSysctl(name); got != want || err != nil {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		}
		if err := WriteSysctl(name, "x"); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "net.ipv4.conf.lo.forwarding") {
			t.Error(err)
		}
	})
	if _, err := ReadSysctl("net/ipv4/nonsense"); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "/proc") {
		t.Error(err)
	}
	if err := WriteSysctl("net/ipv4/nonsense", "1"); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

func TestSysctlError(t *testing.T) {
	err := sysctlError("set", "net/ipv4/conf/eth0.100/forwarding", &fs.PathError{Op: "open", Path: "p", Err: unix.EROFS})
	if !errors.Is(err, unix.EROFS) || !strings.HasPrefix(err.Error(), "set sysctl net.ipv4.conf.eth0/100.forwarding: ") || !strings.Contains(err.Error(), "privileged") {
		t.Error(err)
	}
}
