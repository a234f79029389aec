package ipvs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tablePath is the table of the calling thread's network namespace, as sockets are. /proc/net
// would be that of the process's first thread.
const tablePath = "/proc/thread-self/net/ip_vs"

// ReadTable calls each with every virtual server of the calling thread's network namespace and
// its real servers; the slice is valid during the call only. It leaves out services by
// firewall mark, since the table does not have their family. As with Client.Services, one may
// be missing; one may also come twice.
func ReadTable(each func(ServiceKey, []Dest)) error {
	f, err := os.Open(tablePath)
	if errors.Is(err, os.ErrNotExist) {
		return ErrNoIPVS
	}
	if err != nil {
		return fmt.Errorf("read the IPVS table: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := parseTable(f, each); err != nil {
		return fmt.Errorf("read the IPVS table: %w", err)
	}
	return nil
}

// table is the state of a walk through the text: the present service and its destinations.
type table struct {
	key   ServiceKey
	dests []Dest
	in    bool // a service has begun
	skip  bool // it is one by firewall mark
	each  func(ServiceKey, []Dest)
	words [][]byte // of the line
}

func (t *table) flush() {
	if t.in && !t.skip {
		t.each(t.key, t.dests)
	}
	t.dests, t.in, t.skip = t.dests[:0], false, false
}

// parseTable reads the text. It begins with three lines of headings.
func parseTable(r io.Reader, each func(ServiceKey, []Dest)) error {
	t := table{each: each}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 64<<10)
	n := 0
	for lines.Scan() {
		line := lines.Bytes()
		n++
		ok := true
		switch {
		case n == 1:
			ok = bytes.HasPrefix(line, []byte("IP Virtual Server "))
		case n > 3:
			ok = t.line(line)
		}
		if !ok {
			return fmt.Errorf("line %d is malformed: %q", n, line)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("after line %d: %w", n, err)
	}
	if n < 3 {
		return fmt.Errorf("the table ends after line %d", n)
	}
	t.flush()
	return nil
}

var arrow = []byte("->")

// line reads the line of a service, such as
//
//	TCP  0A600001:0050 rr persistent 10800 FFFFFFFF
//
// or of a destination of the service before it, such as
//
//	-> [fd00:0000:0000:0000:0000:0000:0000:0001]:1F90      Masq    1      0          0
func (t *table) line(line []byte) bool {
	t.words = t.words[:0]
	for word := range bytes.FieldsSeq(line) {
		t.words = append(t.words, word)
	}
	f := t.words
	switch {
	case len(f) >= 6 && bytes.Equal(f[0], arrow):
		d, ok := parseTableDest(f)
		t.dests = append(t.dests, d)
		return ok && t.in
	case len(f) >= 3 && !bytes.Equal(f[0], arrow):
		t.flush()
		t.in = true
		if string(f[0]) == "FWM" {
			t.skip = true
			return true
		}
		var okProto, okAddr bool
		t.key.Proto, okProto = parseProto(string(f[0]))
		t.key.Addr, okAddr = parseAddrPort(f[1])
		return okProto && okAddr
	}
	return false
}

func parseTableDest(f [][]byte) (Dest, bool) {
	addr, ok := parseAddrPort(f[1])
	d := Dest{Addr: addr}
	for i, field := range []*uint32{&d.Weight, &d.Active, &d.Inactive} {
		n, err := strconv.ParseInt(string(f[3+i]), 10, 32)
		// A count may be below zero for the moment of a race in the kernel.
		*field, ok = uint32(max(n, 0)), ok && err == nil
	}
	return d, ok
}

var protocols = map[string]uint8{
	"TCP": unix.IPPROTO_TCP, "UDP": unix.IPPROTO_UDP, "SCTP": unix.IPPROTO_SCTP,
	"ICMP": unix.IPPROTO_ICMP, "ICMPv6": unix.IPPROTO_ICMPV6,
}

// parseProto reads a protocol as ip_vs_proto_name in the kernel writes it.
func parseProto(s string) (uint8, bool) {
	if p, ok := protocols[s]; ok {
		return p, true
	}
	number, ok := strings.CutPrefix(s, "IP_")
	p, err := strconv.ParseUint(number, 10, 8)
	return uint8(p), ok && err == nil
}

// parseAddrPort reads 0A600001:0050 or [fd00:0000:...:0001]:0050.
func parseAddrPort(p []byte) (netip.AddrPort, bool) {
	i := bytes.LastIndexByte(p, ':')
	if i < 0 || len(p)-i != 5 {
		return netip.AddrPort{}, false
	}
	port, ok := parseHex(p[i+1:])
	p = p[:i]
	if len(p) == 8 {
		ip, okAddr := parseHex(p)
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], ip)
		return netip.AddrPortFrom(netip.AddrFrom4(raw), uint16(port)), ok && okAddr
	}
	const groups = 8
	if len(p) != 1+groups*5 || p[0] != '[' || p[len(p)-1] != ']' {
		return netip.AddrPort{}, false
	}
	var raw [16]byte
	for i := range groups {
		group, okGroup := parseHex(p[1+i*5 : 5+i*5])
		binary.BigEndian.PutUint16(raw[2*i:], uint16(group))
		ok = ok && okGroup && (i == groups-1 || p[5+i*5] == ':')
	}
	return netip.AddrPortFrom(netip.AddrFrom16(raw), uint16(port)), ok
}

// parseHex reads up to eight digits.
func parseHex(p []byte) (uint32, bool) {
	var n uint32
	for _, c := range p {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint32(c-'0')
		case c >= 'A' && c <= 'F':
			n = n<<4 | uint32(c-'A'+10)
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
