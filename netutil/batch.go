package netutil

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Batch is a list of netlink requests in the kernel's own format. Begin starts
// a request, Attr, Nest and the rest add to the one begun last. The zero value
// is ready; Reset empties it and keeps its memory, up to a bound.
type Batch struct {
	buf   []byte
	start []int
}

// keptBytes is what Reset keeps at the most: a cold start of a large cluster
// would otherwise hold megabytes for good.
const keptBytes = 1 << 20

// Reset empties b.
func (b *Batch) Reset() {
	if cap(b.buf) > keptBytes {
		b.buf, b.start = nil, nil
	}
	b.buf, b.start = b.buf[:0], b.start[:0]
}

// Len returns the number of requests.
func (b *Batch) Len() int { return len(b.start) }

// Full tells whether b has as much as one send takes.
func (b *Batch) Full() bool {
	const request = 512 // bytes that one does not exceed
	return len(b.start) >= maxRequests || len(b.buf) > maxBytes-request
}

// Begin starts a request of a type, with flags beside NLM_F_REQUEST and the
// fixed header of its protocol, such as a genlmsghdr.
func (b *Batch) Begin(typ uint16, flags int, header ...byte) {
	b.start = append(b.start, len(b.buf))
	var h [unix.SizeofNlMsghdr]byte
	binary.NativeEndian.PutUint16(h[4:], typ)
	binary.NativeEndian.PutUint16(h[6:], uint16(unix.NLM_F_REQUEST|flags))
	b.buf = append(b.buf, h[:]...)
	b.buf = append(b.buf, header...)
	b.pad()
	b.size()
}

// Attr adds an attribute.
func (b *Batch) Attr(typ uint16, data ...byte) {
	var h [unix.SizeofNlAttr]byte
	binary.NativeEndian.PutUint16(h[:], uint16(unix.SizeofNlAttr+len(data)))
	binary.NativeEndian.PutUint16(h[2:], typ)
	b.buf = append(b.buf, h[:]...)
	b.buf = append(b.buf, data...)
	b.pad()
	b.size()
}

// U8 adds a one-byte attribute.
func (b *Batch) U8(typ uint16, v uint8) { b.Attr(typ, v) }

// U16 adds a two-byte attribute in host order.
func (b *Batch) U16(typ uint16, v uint16) {
	b.Attr(typ, binary.NativeEndian.AppendUint16(nil, v)...)
}

// U32 adds a four-byte attribute in host order.
func (b *Batch) U32(typ uint16, v uint32) {
	b.Attr(typ, binary.NativeEndian.AppendUint32(nil, v)...)
}

// Be16 adds a two-byte attribute in network order.
func (b *Batch) Be16(typ uint16, v uint16) { b.Attr(typ, byte(v>>8), byte(v)) }

// Be32 adds a four-byte attribute in network order.
func (b *Batch) Be32(typ uint16, v uint32) {
	b.Attr(typ, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// String adds a NUL-terminated attribute.
func (b *Batch) String(typ uint16, s string) { b.Attr(typ, append([]byte(s), 0)...) }

// Nest opens a nested attribute; End closes it with what Nest returned.
func (b *Batch) Nest(typ uint16) int {
	at := len(b.buf)
	b.Attr(typ | unix.NLA_F_NESTED)
	return at
}

// End closes a nested attribute.
func (b *Batch) End(at int) {
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
	b.size()
}

func (b *Batch) pad() {
	for len(b.buf)%unix.NLMSG_ALIGNTO != 0 {
		b.buf = append(b.buf, 0)
	}
}

// size writes the length of the last request.
func (b *Batch) size() {
	at := b.start[len(b.start)-1]
	binary.NativeEndian.PutUint32(b.buf[at:], uint32(len(b.buf)-at))
}

// stamp completes the header of request i before it is sent.
func (b *Batch) stamp(i int, flags uint16, seq, pid uint32) {
	at := b.start[i]
	flags |= binary.NativeEndian.Uint16(b.buf[at+6:]) &^ unix.NLM_F_ACK
	binary.NativeEndian.PutUint16(b.buf[at+6:], flags)
	binary.NativeEndian.PutUint32(b.buf[at+8:], seq)
	binary.NativeEndian.PutUint32(b.buf[at+12:], pid)
}

// end returns where request i ends.
func (b *Batch) end(i int) int {
	if i+1 < len(b.start) {
		return b.start[i+1]
	}
	return len(b.buf)
}

// Messages returns each request's bytes, for tests.
func (b *Batch) Messages() [][]byte {
	var out [][]byte
	for i, at := range b.start {
		out = append(out, b.buf[at:b.end(i)])
	}
	return out
}

// Attr is one attribute of a reply.
type Attr struct {
	Type uint16 // without the nested and byte-order flags
	Data []byte
}

// NextAttr returns the first attribute of p and the rest. ok is false at the
// end and where p is malformed, so that garbage ends a walk instead of the
// process.
func NextAttr(p []byte) (a Attr, rest []byte, ok bool) {
	if len(p) < unix.SizeofNlAttr {
		return Attr{}, nil, false
	}
	n := int(binary.NativeEndian.Uint16(p))
	if n < unix.SizeofNlAttr || n > len(p) {
		return Attr{}, nil, false
	}
	a = Attr{Type: binary.NativeEndian.Uint16(p[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER), Data: p[unix.SizeofNlAttr:n]}
	return a, p[min((n+3)&^3, len(p)):], true
}
