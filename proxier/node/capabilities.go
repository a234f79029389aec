package node

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that running needs: netlink, sysctls and
// iptables need the first; to ask for sets, the iptables tools open a raw socket.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW"},
}

// capSets are the capability sets of a thread, as capset(2) takes them.
type capSets [2]unix.CapUserData

// DropCapabilities drops on all threads every capability except CAP_NET_ADMIN and CAP_NET_RAW,
// which the programs that this process starts inherit, for any user. It returns the ones of the
// two that the process has. It fails if CAP_NET_ADMIN is missing, since nothing works without
// it. Idempotent.
//
// It also bounds the capabilities of programs that root starts, if the process has
// CAP_SETPCAP.
//
// It fails with ENOTSUP in a program built with cgo.
func DropCapabilities() (kept []string, err error) {
	have, err := capabilities()
	if err != nil {
		return nil, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	var keep uint64
	for _, n := range needed {
		if have.permitted()>>n.bit&1 == 1 {
			keep |= 1 << n.bit
			kept = append(kept, n.name)
		}
	}
	if keep>>unix.CAP_NET_ADMIN&1 == 0 {
		return kept, errors.New("the capability CAP_NET_ADMIN is missing: run as root with it, or grant it to the container")
	}
	if err := dropBounding(have, keep); err != nil {
		return kept, fmt.Errorf("bound the capabilities of programs that this process starts: %w", err)
	}
	if err := setCapabilities(keep); err != nil {
		return kept, fmt.Errorf("drop capabilities: %w", err)
	}
	if os.Geteuid() == 0 {
		return kept, nil
	}
	for _, n := range needed {
		if keep>>n.bit&1 == 0 {
			continue
		}
		if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n.bit)); err != nil {
			return kept, fmt.Errorf("let programs that this process starts have %s: %w", n.name, err)
		}
	}
	return kept, nil
}

// capabilities reads the sets of the calling thread.
func capabilities() (capSets, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets capSets
	err := unix.Capget(&h, &sets[0])
	return sets, err
}

func (c capSets) permitted() uint64 { return uint64(c[1].Permitted)<<32 | uint64(c[0].Permitted) }
func (c capSets) effective() uint64 { return uint64(c[1].Effective)<<32 | uint64(c[0].Effective) }

// dropBounding drops all other capabilities from the bounding set of all threads, if the process
// may.
func dropBounding(have capSets, keep uint64) error {
	if have.effective()>>unix.CAP_SETPCAP&1 == 0 {
		return nil
	}
	for bit := uint(0); bit < 64; bit++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0)
		if err != nil { // after the last capability of this kernel
			return nil
		}
		if in == 0 || keep>>bit&1 == 1 {
			continue
		}
		if err := prctl(unix.PR_CAPBSET_DROP, uintptr(bit), 0); err != nil {
			return err
		}
	}
	return nil
}

// setCapabilities sets the effective, permitted and inheritable set of all threads to keep.
func setCapabilities(keep uint64) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets capSets
	for i := range sets {
		half := uint32(keep >> (32 * i))
		sets[i] = unix.CapUserData{Effective: half, Permitted: half, Inheritable: half}
	}
	_, _, no := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&sets[0])), 0)
	runtime.KeepAlive(&h)
	runtime.KeepAlive(&sets)
	return errnoError(no)
}

// prctl runs prctl(2) on all threads.
func prctl(option, a, b uintptr) error {
	_, _, no := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, option, a, b, 0, 0, 0)
	return errnoError(no)
}

func errnoError(no syscall.Errno) error {
	if no == 0 {
		return nil
	}
	return no
}
