package netutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacySocket asks the kernel for legacy rules, as the tools do, but with no
// process, and without making text of what others have.
type legacySocket struct {
	fd     int
	family Family
}

func openLegacy(family Family) (*legacySocket, error) {
	fd, err := unix.Socket(int(family.Inet()), unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a socket for legacy rules of %s: %w", family, err)
	}
	return &legacySocket{fd, family}, nil
}

func (s *legacySocket) Close() error { return unix.Close(s.fd) }

// legacyTables returns those of ourTables that a family has in this network
// namespace. To ask for another may load its module, which alone is enough to
// register tables and hooks on some kernels. Of IPv6 there are none where the kernel was
// told to do without it: a module may list them all the same, but nothing can ask for
// their rules, and no packet comes to them.
func legacyTables(family Family) []string {
	p, err := os.ReadFile(legacyNames[family])
	if err != nil || family == IPv6 && !HasIPv6() {
		return nil
	}
	there := strings.Fields(string(p))
	return slices.DeleteFunc(slices.Clone(ourTables), func(t string) bool { return !slices.Contains(there, t) })
}

// Of linux/netfilter_ipv4/ip_tables.h and its sibling, which have the same numbers.
const (
	getInfo    = 64 // IPT_SO_GET_INFO
	getEntries = 65 // IPT_SO_GET_ENTRIES
)

// legacyInfo is struct ipt_getinfo: what a table's rules come to. A rule that is
// added or taken away shows in it, one that is replaced by another of the same
// size does not.
type legacyInfo struct {
	name             [32]byte
	hooks            uint32
	entry, underflow [5]uint32
	entries, size    uint32
}

func (s *legacySocket) info(table string) (legacyInfo, error) {
	var in legacyInfo
	copy(in.name[:len(in.name)-1], table)
	err := s.get(getInfo, unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in)))
	return in, err
}

func (s *legacySocket) get(option uintptr, p []byte) error {
	level := [...]uintptr{unix.SOL_IP, unix.SOL_IPV6}[s.family]
	size := uint32(len(p))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), level, option,
		uintptr(unsafe.Pointer(&p[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// chains returns the chains of a table with their rules. It costs with all rules
// in it: the kernel hands out a table as a whole.
func (s *legacySocket) chains(table string) ([]legacyChain, error) {
	for {
		info, err := s.info(table)
		if err != nil {
			return nil, s.failed(table, err)
		}
		const header = 40 // struct ipt_get_entries: name, size, up to the next multiple of eight
		p := make([]byte, header+int(info.size))
		copy(p[:32], info.name[:])
		binary.NativeEndian.PutUint32(p[32:], info.size)
		err = s.get(getEntries, p)
		if errors.Is(err, unix.EAGAIN) {
			continue // the table's size has changed meanwhile
		}
		if err != nil {
			return nil, s.failed(table, err)
		}
		out, err := s.parse(table, info, p[header:])
		if err != nil {
			return nil, s.failed(table, err)
		}
		return out, nil
	}
}

// eachLegacy hands each chain of some tables to each. Without tables it does not
// ask the kernel, which may lack the family.
func eachLegacy(family Family, tables []string, each func(legacyChain)) error {
	if len(tables) == 0 {
		return nil
	}
	s, err := openLegacy(family)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, t := range tables {
		chains, err := s.chains(t)
		if err != nil {
			return err
		}
		for _, c := range chains {
			each(c)
		}
	}
	return nil
}

// legacySizes returns what the rules of tables come to, each at its place among
// ourTables.
func legacySizes(family Family, tables []string) (out [3]legacyInfo, err error) {
	if len(tables) == 0 {
		return out, nil
	}
	s, err := openLegacy(family)
	if err != nil {
		return out, err
	}
	defer s.Close()
	for _, t := range tables {
		if out[slices.Index(ourTables, t)], err = s.info(t); err != nil {
			return out, s.failed(t, err)
		}
	}
	return out, nil
}

func (s *legacySocket) failed(table string, err error) error {
	return fmt.Errorf("read the legacy table %s of %s: %w", table, s.family, err)
}
