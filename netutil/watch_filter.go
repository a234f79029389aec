package netutil

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where the fields stand that the filter looks at: struct nlmsghdr, then, in
// events of routes, struct rtmsg, unless it is said to be of another.
const (
	atType     = 4
	atFlags    = 6
	atDstLen   = unix.SizeofNlMsghdr + 1
	atTable    = unix.SizeofNlMsghdr + 4
	atProtocol = unix.SizeofNlMsghdr + 5
	atAddrLink = unix.SizeofNlMsghdr + 4 // of struct ifaddrmsg
)

// halfBits is the prefix length of the two routes that a VPN puts in the place of
// the default route.
const halfBits = 1

// routeFilter lets all events through that are not of routes, and of these the
// deletion of ours, what takes the place of a local route, and default routes,
// or halves of one, of any other table. The kernel asks it before it queues an event, so that neither a
// cold start nor a daemon that learns all routes of the internet wakes us.
var routeFilter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: atType, Size: 2},
	bpf.JumpIf{Val: loaded16(unix.RTM_NEWROUTE), SkipTrue: 5},   // to: added
	bpf.JumpIf{Val: loaded16(unix.RTM_DELROUTE), SkipFalse: 11}, // to: of interest
	// Deleted.
	bpf.LoadAbsolute{Off: atTable, Size: 1},
	bpf.JumpIf{Val: unix.RT_TABLE_LOCAL, SkipFalse: 6}, // to: other tables
	bpf.LoadAbsolute{Off: atProtocol, Size: 1},
	bpf.JumpIf{Val: RouteProtocol, SkipTrue: 7, SkipFalse: 6},
	// Added.
	bpf.LoadAbsolute{Off: atTable, Size: 1},
	bpf.JumpIf{Val: unix.RT_TABLE_LOCAL, SkipFalse: 2}, // to: other tables
	bpf.LoadAbsolute{Off: atFlags, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: loaded16(unix.NLM_F_REPLACE), SkipTrue: 3, SkipFalse: 2},
	// Other tables.
	bpf.LoadAbsolute{Off: atDstLen, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: halfBits, SkipTrue: 1},
	// Of no interest.
	bpf.RetConstant{Val: 0},
	// Of interest.
	bpf.RetConstant{Val: 0xffffffff},
}

// loaded16 returns what a filter loads of a number in host order: it takes all
// for network order.
func loaded16(n uint16) uint32 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return uint32(binary.BigEndian.Uint16(b[:]))
}

// deviceFilter keeps away what is added to a link, 0 for none, and leaves the rest to
// routeFilter: ten thousand VIPs that we bind are more than the queue holds, and
// a listener that loses events has to read everything anew.
func deviceFilter(device uint32) []bpf.Instruction {
	var index [4]byte
	binary.NativeEndian.PutUint32(index[:], device)
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: atType, Size: 2},
		bpf.JumpIf{Val: loaded16(unix.RTM_NEWADDR), SkipFalse: 3}, // to: routeFilter
		bpf.LoadAbsolute{Off: atAddrLink, Size: 4},
		bpf.JumpIf{Val: binary.BigEndian.Uint32(index[:]), SkipFalse: 1}, // to: routeFilter
		bpf.RetConstant{Val: 0},
	}, routeFilter...)
}

// attachFilter puts deviceFilter on a socket, in the place of one that it has.
func attachFilter(fd int, device uint32) error {
	code, err := bpf.Assemble(deviceFilter(device))
	if err != nil {
		return fmt.Errorf("assemble a filter of events: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))} // bpf.RawInstruction is struct sock_filter
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("filter events: %w", err)
	}
	return nil
}
