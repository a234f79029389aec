package netutil

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func openFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(files)
}

// TestExecErrors wants each error at the request that it belongs to.
func TestExecErrors(t *testing.T) {
	inNetns(t, func() {
		l := openLinks(t)
		const n = 1300 // three sends
		for _, bad := range [][]int{{}, {0}, {1}, {n - 1}, {0, 1, n - 1}, {499, 500, 999, 1000}} {
			isBad := map[int]bool{}
			for _, i := range bad {
				isBad[i] = true
			}
			before := l.Stats()
			var b Batch
			for i := range n {
				link := loopback
				if isBad[i] {
					link = 9999
				}
				addAddress(&b, link, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
			}
			errs := l.Exec(&b)
			if len(bad) == 0 && errs != nil {
				t.Fatalf("errors: %v", errors.Join(errs...))
			}
			for i, err := range errs {
				if isBad[i] != errors.Is(err, unix.ENODEV) || !isBad[i] && err != nil {
					t.Fatalf("bad %v: request %d: %v", bad, i, err)
				}
			}
			after := l.Stats()
			if s := after.Sends - before.Sends; s != 3 {
				t.Errorf("%d sends", s)
			}
			if m, e := after.Messages-before.Messages, after.Errors-before.Errors; m != n || e != uint64(len(bad)) {
				t.Errorf("%d messages, %d errors, want %d and %d", m, e, n, len(bad))
			}
		}
		addrs, err := l.Addresses()
		must(t, err)
		if len(addrs) != n {
			t.Errorf("%d addresses, want %d", len(addrs), n)
		}
		if d := l.Stats().Dumps; d != 1 {
			t.Errorf("%d dumps", d)
		}
	})
}

// TestExecLostReply makes the kernel's replies overflow the socket.
func TestExecLostReply(t *testing.T) {
	inNetns(t, func() {
		c, err := Dial(unix.NETLINK_ROUTE)
		must(t, err)
		defer c.Close()
		must(t, unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1))
		var b Batch
		for i := range 100 {
			addAddress(&b, 9999, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})) // each is refused, and a refusal is a reply
		}
		errs := c.Exec(&b)
		if len(errs) != 100 || !errors.Is(errs[99], ErrUnknownFate) {
			t.Fatalf("%d errors: %v", len(errs), errors.Join(errs...))
		}
		if errs := c.Exec(&b); len(errs) != 100 || !errors.Is(errs[0], unix.ENODEV) || !errors.Is(errs[99], unix.ENODEV) {
			t.Errorf("not whole afterwards: %v", errors.Join(errs...))
		}
	})
}

func TestClosedConn(t *testing.T) {
	c, err := Dial(unix.NETLINK_ROUTE)
	must(t, err)
	must(t, c.Close())
	must(t, c.Close())
	var b Batch
	addAddress(&b, loopback, netip.MustParseAddr("127.0.0.1"))
	if errs := c.Exec(&b); len(errs) != 1 || !errors.Is(errs[0], os.ErrClosed) {
		t.Errorf("%v", errs)
	}
	if err := c.Dump(&b, nil); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestRetry(t *testing.T) {
	n := 0
	err := Retry(func() error { n++; return ErrInterrupted })
	if n != 5 || !errors.Is(err, ErrInterrupted) {
		t.Errorf("%d tries, %v", n, err)
	}
	n = 0
	must(t, Retry(func() error {
		if n++; n < 3 {
			return ErrInterrupted
		}
		return nil
	}))
	if n != 3 {
		t.Errorf("%d tries", n)
	}
}

func TestFates(t *testing.T) {
	reply := func(f *fates, seq uint32, errno int32) {
		_ = f.reply(unix.NlMsghdr{Type: unix.NLMSG_ERROR, Seq: seq}, binary.NativeEndian.AppendUint32(nil, uint32(-errno)))
	}
	f := newFates(^uint32(0), 4) // sequence numbers wrap
	reply(f, ^uint32(0)-1, int32(unix.EPERM))
	reply(f, ^uint32(0), int32(unix.EEXIST))
	reply(f, 1, int32(unix.ENOENT))
	f.lost(ErrUnknownFate)
	for i, want := range []error{unix.EEXIST, nil, unix.ENOENT, ErrUnknownFate} {
		if !errors.Is(f.errs[i], want) || want == nil && f.errs[i] != nil {
			t.Errorf("request %d: %v, want %v", i, f.errs[i], want)
		}
	}
	if f.done {
		t.Error("done without the last reply")
	}
	reply(f, 2, 0)
	if !f.done {
		t.Error("not done after the last reply")
	}
}
