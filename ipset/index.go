package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Constants of linux/netfilter/ipset/ip_set.h.
const (
	sockoptIPSet = 83 // SO_IP_SET
	opGetByName  = 6  // IP_SET_OP_GET_BYNAME
	noIndex      = math.MaxUint16
)

// request is struct ip_set_req_get_set. The kernel writes the answer over the first two bytes
// of the name.
type request struct {
	op, version uint32
	name        [maxName + 1]byte
}

// Index returns the number of the set with a name, which rules of the calling thread's network
// namespace hold; ErrNotFound if there is none. The number stays while a rule refers to the
// set. It needs CAP_NET_RAW and CAP_NET_ADMIN.
//
// Index uses the socket option that iptables uses: netlink has had a command for it only since
// Linux 4.20.
func Index(name string) (uint16, error) {
	index, err := lookUp(name)
	if err != nil {
		return 0, fmt.Errorf("look up the number of set %s: %w", name, err)
	}
	return index, nil
}

func lookUp(name string) (uint16, error) {
	r := request{op: opGetByName, version: nl.IPSET_PROTOCOL}
	if len(name) >= len(r.name) {
		return 0, errors.New("the name is too long")
	}
	copy(r.name[:], name)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	size := uint32(unsafe.Sizeof(r))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, sockoptIPSet,
		uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, Error(errno)
	}
	index := binary.NativeEndian.Uint16(r.name[:])
	if index == noIndex {
		return 0, ErrNotFound
	}
	return index, nil
}
