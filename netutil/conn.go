package netutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one send. Beyond a few hundred requests the gain is spent and the
// thread is only held longer in the kernel.
const (
	maxRequests = 500
	maxBytes    = 64 << 10
)

// replyTimeout bounds the wait for the kernel, which answers while it is sent to.
const replyTimeout = 10 * time.Second

// ErrUnknownFate means that a request was sent and its reply was lost: it may
// or may not have happened. Read the kernel before trying again.
var ErrUnknownFate = errors.New("the kernel's reply was lost")

// ErrInterrupted means that objects changed during a dump, so that it may lack some.
var ErrInterrupted = errors.New("a change interrupted the netlink dump")

// Stats counts the requests of netlink sockets.
type Stats struct {
	Sends    uint64 // system calls that carried requests
	Messages uint64 // requests in them, dumps included
	Dumps    uint64 // dumps among them
	Errors   uint64 // requests that the kernel refused
	Bytes    uint64 // sent
}

// Conn is one netlink socket. Only one goroutine may use it at a time; it is
// bound to the network namespace of the thread that called Dial.
type Conn struct {
	family int
	fd     int
	pid    uint32
	seq    uint32
	rbuf   []byte
	closed bool

	sends, messages, dumps, errs, bytes atomic.Uint64
}

// Dial opens a socket of a netlink family such as unix.NETLINK_GENERIC.
func Dial(family int) (*Conn, error) {
	c := &Conn{family: family, fd: -1, rbuf: make([]byte, 128<<10)}
	if err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Conn) open() error {
	fd, err := openNetlink(c.family, unix.SOCK_CLOEXEC)
	if err != nil {
		err = fmt.Errorf("open netlink socket: %w", err)
		if c.family == unix.NETLINK_NETFILTER && errors.Is(err, unix.EPROTONOSUPPORT) {
			err = &MissingModules{err, []string{"nfnetlink"}}
		}
		return err
	}
	if err := c.setup(fd); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("set up netlink socket: %w", err)
	}
	c.fd = fd
	return nil
}

// openNetlink opens a netlink socket. The kernel may load a module for it, such as nfnetlink, and
// waits for the node's modprobe. unix.Socket does not tell Go's scheduler that it may wait: with
// one CPU, or at the next garbage collection, a modprobe that hangs would stop the whole process,
// with its deadlines and its answer to SIGTERM.
func openNetlink(family, flags int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_SOCKET, unix.AF_NETLINK, uintptr(unix.SOCK_RAW|flags), uintptr(family))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func (c *Conn) setup(fd int) error {
	// A reply is charged about 800 bytes: the default buffer holds 256 of them and loses
	// the rest. FORCE needs CAP_NET_ADMIN, which each writer has and a reader does not need.
	for _, opt := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, 4<<20)
	}
	// Errors then do not carry the request back. Optional: it only saves memory.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	// Dumps then honour filters such as an interface's index; old kernels ignore them.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	tv := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	c.pid = sa.(*unix.SockaddrNetlink).Pid
	if c.family == unix.NETLINK_ROUTE {
		ports.set(c.pid, true)
	}
	return nil
}

// Close closes the socket. Requests fail with os.ErrClosed from then on.
func (c *Conn) Close() error {
	c.closed = true
	return c.shut()
}

func (c *Conn) shut() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	if c.family == unix.NETLINK_ROUTE {
		ports.set(c.pid, false)
	}
	return unix.Close(fd)
}

// reopen replaces a socket whose replies can no longer be told apart: a new
// port number makes late replies to the old one harmless.
func (c *Conn) reopen() error {
	_ = c.shut()
	return c.open()
}

// Stats returns the counts so far. Safe from any goroutine.
func (c *Conn) Stats() Stats {
	return Stats{Sends: c.sends.Load(), Messages: c.messages.Load(), Dumps: c.dumps.Load(), Errors: c.errs.Load(), Bytes: c.bytes.Load()}
}

// Exec sends the requests of b, several hundred a system call. The kernel executes them in
// order, and goes on after one that fails. Exec returns nil if all succeed, else one error a
// request: nil, the kernel's errno, or ErrUnknownFate.
func (c *Conn) Exec(b *Batch) []error {
	var errs []error
	for from := 0; from < b.Len(); {
		to := from + 1
		for to < b.Len() && to-from < maxRequests && b.end(to)-b.start[from] <= maxBytes {
			to++
		}
		if chunk := c.exec(b, from, to); chunk != nil {
			if errs == nil {
				errs = make([]error, b.Len())
			}
			copy(errs[from:], chunk)
		}
		from = to
	}
	return errs
}

// exec sends requests [from, to) at once.
func (c *Conn) exec(b *Batch, from, to int) []error {
	base := c.seq + 1
	c.seq += uint32(to - from)
	for i := from; i < to; i++ {
		var flags uint16
		if i == to-1 {
			flags = unix.NLM_F_ACK // errors are always told; one success at the end proves the rest
		}
		b.stamp(i, flags, base+uint32(i-from), c.pid)
	}
	fates := newFates(base, to-from)
	if err := c.send(b.buf[b.start[from]:b.end(to-1)], to-from); err != nil {
		fates.lost(err)
		return fates.errs
	}
	for !fates.done {
		if err := c.receive(fates.reply); err != nil {
			// The requests still all execute; only the answers are gone. If
			// there is no new socket, the next send tries again.
			fates.lost(fmt.Errorf("%w: %w", ErrUnknownFate, errors.Join(err, c.reopen())))
			break
		}
	}
	c.errs.Add(uint64(fates.failed))
	return fates.errs
}

func (c *Conn) send(p []byte, requests int) error {
	if c.closed {
		return os.ErrClosed
	}
	if c.fd < 0 {
		if err := c.open(); err != nil {
			return err
		}
	}
	c.sends.Add(1)
	c.messages.Add(uint64(requests))
	c.bytes.Add(uint64(len(p)))
	for {
		err := unix.Sendto(c.fd, p, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

// receive reads once and calls each with every message.
func (c *Conn) receive(each func(h unix.NlMsghdr, data []byte) error) error {
	var n int
	for {
		var from unix.Sockaddr
		var err error
		n, from, err = unix.Recvfrom(c.fd, c.rbuf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 {
			break // from the kernel, and not from another process
		}
	}
	return walk(c.rbuf[:n], each)
}

// walk splits p into messages.
func walk(p []byte, each func(h unix.NlMsghdr, data []byte) error) error {
	for len(p) >= unix.SizeofNlMsghdr {
		h := unix.NlMsghdr{
			Len: binary.NativeEndian.Uint32(p), Type: binary.NativeEndian.Uint16(p[4:]),
			Flags: binary.NativeEndian.Uint16(p[6:]), Seq: binary.NativeEndian.Uint32(p[8:]), Pid: binary.NativeEndian.Uint32(p[12:]),
		}
		if h.Len < unix.SizeofNlMsghdr || int(h.Len) > len(p) {
			return fmt.Errorf("malformed netlink message of length %d", h.Len)
		}
		if err := each(h, p[unix.SizeofNlMsghdr:h.Len]); err != nil {
			return err
		}
		p = p[min(int(h.Len+3)&^3, len(p)):]
	}
	return nil
}

// errno reads the payload of an NLMSG_ERROR or NLMSG_DONE.
func errno(data []byte) error {
	if len(data) < 4 {
		return nil
	}
	if e := int32(binary.NativeEndian.Uint32(data)); e < 0 {
		return unix.Errno(-e)
	}
	return nil
}

// fates collects the results of the requests of one send.
type fates struct {
	base   uint32
	errs   []error // nil as long as nothing failed
	n      int
	told   int // how far replies, which come in order, have reached
	failed int
	done   bool
}

func newFates(base uint32, n int) *fates { return &fates{base: base, n: n} }

func (f *fates) reply(h unix.NlMsghdr, data []byte) error {
	i := int(h.Seq - f.base)
	if h.Type != unix.NLMSG_ERROR || i < 0 || i >= f.n {
		return nil // a straggler
	}
	if err := errno(data); err != nil {
		f.set(i, err)
		f.failed++
	}
	f.told = i + 1
	f.done = f.done || i == f.n-1
	return nil
}

// lost gives err to each request from the last one that the kernel spoke of.
func (f *fates) lost(err error) {
	for i := f.told; i < f.n; i++ {
		f.set(i, err)
	}
}

func (f *fates) set(i int, err error) {
	if f.errs == nil {
		f.errs = make([]error, f.n)
	}
	f.errs[i] = err
}

// Dump sends the one request of b with NLM_F_DUMP and calls each with every message of the
// answer, which is valid during the call only. It returns ErrInterrupted if the kernel says
// that the dump may lack objects.
func (c *Conn) Dump(b *Batch, each func(typ uint16, data []byte) error) error {
	c.dumps.Add(1)
	return c.query(b, unix.NLM_F_DUMP, each)
}

// Get sends the one request of b and calls each with the message that answers it.
func (c *Conn) Get(b *Batch, each func(typ uint16, data []byte) error) error {
	return c.query(b, unix.NLM_F_ACK, each)
}

func (c *Conn) query(b *Batch, flags uint16, each func(typ uint16, data []byte) error) error {
	c.seq++
	seq := c.seq
	b.stamp(0, flags, seq, c.pid)
	if err := c.send(b.buf[:b.end(0)], 1); err != nil {
		return err
	}
	done, interrupted := false, false
	for !done {
		err := c.receive(func(h unix.NlMsghdr, data []byte) error {
			if h.Seq != seq {
				return nil
			}
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			if h.Type == unix.NLMSG_DONE || h.Type == unix.NLMSG_ERROR {
				done = true
				return errno(data)
			}
			return each(h.Type, data)
		})
		if err != nil {
			if !done { // more of the answer is under way
				_ = c.reopen()
			}
			return err
		}
	}
	if interrupted {
		return ErrInterrupted
	}
	return nil
}

// Retry calls read until it is not interrupted, five times at the most.
func Retry(read func() error) error {
	var err error
	for range 5 {
		if err = read(); !errors.Is(err, ErrInterrupted) {
			return err
		}
	}
	return err
}
