package ipset

import (
	"errors"
	"maps"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"kube-ipvs/netutil"
)

// isolated gives the test a network namespace of its own and a Client in it.
// The thread is never unlocked, so it ends with the test's goroutine.
func isolated(t testing.TB) *Client {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs root for a network namespace: %v", err)
	}
	c, err := Open()
	if err != nil {
		t.Skipf("the kernel has no netfilter: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Probe(HashIP, unix.AF_INET); err != nil {
		t.Skip(err)
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apply executes one request for each entry.
func apply(t testing.TB, c *Client, f func(*netutil.Batch, string, Type, Entry), set string, typ Type, all []Entry) {
	t.Helper()
	var b netutil.Batch
	for _, e := range all {
		f(&b, set, typ, e)
	}
	for i, err := range c.Exec(&b) {
		if err != nil {
			t.Fatalf("%+v: %v", all[i], err)
		}
	}
}

func listed(t testing.TB, c *Client, set string) map[Entry]bool {
	t.Helper()
	got := map[Entry]bool{}
	must(t, c.List(set, func(e Entry) {
		if got[e] {
			t.Errorf("%+v twice", e)
		}
		got[e] = true
	}))
	return got
}

var families = map[string]uint8{"4": unix.AF_INET, "6": unix.AF_INET6}

func drawAddr(t *rapid.T, family uint8, label string) netip.Addr {
	n := 4
	if family == unix.AF_INET6 {
		n = 16
	}
	p := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label)
	p[0] |= 1 // not the zero address, which some types refuse
	a, _ := netip.AddrFromSlice(p)
	return a
}

func drawNet(t *rapid.T, family uint8, label string) (netip.Addr, uint8) {
	a := drawAddr(t, family, label)
	p := netip.PrefixFrom(a, rapid.IntRange(1, a.BitLen()).Draw(t, label+" bits")).Masked()
	return p.Addr(), uint8(p.Bits())
}

func drawEntry(t *rapid.T, typ Type, family uint8) Entry {
	l := layouts[typ]
	var e Entry
	e.Addr = drawAddr(t, family, "addr")
	e.Bits = uint8(e.Addr.BitLen())
	if l.net {
		e.Addr, e.Bits = drawNet(t, family, "net")
	}
	if l.port {
		e.Proto = rapid.SampledFrom([]uint8{6, 17, 132}).Draw(t, "proto")
		e.Port = rapid.Uint16().Draw(t, "port")
	}
	if l.peer {
		e.Peer = drawAddr(t, family, "peer")
		e.PeerBits = uint8(e.Peer.BitLen())
	}
	if l.peerNet {
		e.Peer, e.PeerBits = drawNet(t, family, "peer net")
	}
	// Any bytes but NUL, up to the kernel's limit.
	comment := rapid.SliceOfN(rapid.ByteRange(1, 255), 0, MaxComment).Draw(t, "comment")
	e.Comment = string(comment)
	return e
}

// The numbers are those that rules hold: of the first set 0, of the next 1.
func TestIndex(t *testing.T) {
	c := isolated(t)
	for want, name := range []string{"first", strings.Repeat("n", maxName)} {
		must(t, c.Create(Set{Name: name, Type: HashIP, Family: unix.AF_INET}))
		if got, err := Index(name); err != nil || int(got) != want {
			t.Errorf("set %s has number %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"missing", "", strings.Repeat("n", maxName-1)} {
		if got, err := Index(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("set %q has number %d, %v", name, got, err)
		}
	}
	if _, err := Index(strings.Repeat("n", maxName+1)); err == nil {
		t.Error("a name that no set can have has a number")
	}
}

// For every type and family: what is added is listed, what is deleted is gone,
// and both can be said twice.
func TestRandomEntries(t *testing.T) {
	c := isolated(t)
	for typ := range layouts {
		for _, family := range families {
			rapid.Check(t, func(rt *rapid.T) { randomEntries(t, rt, c, typ, family) })
		}
	}
}

func randomEntries(t *testing.T, rt *rapid.T, c *Client, typ Type, family uint8) {
	const set = "random"
	must(t, c.Create(Set{Name: set, Type: typ, Family: family, Comments: true}))
	defer func() { must(t, c.Destroy(set)) }()
	key := func(e Entry) Entry { e.Comment = ""; return e }
	one := rapid.Custom(func(rt *rapid.T) Entry { return drawEntry(rt, typ, family) })
	all := rapid.SliceOfNDistinct(one, rapid.IntRange(0, 40).Draw(rt, "n"), 40, key).Draw(rt, "entries")
	want := map[Entry]bool{}
	for _, e := range all {
		want[e] = true
	}
	apply(t, c, AddEntry, set, typ, all)
	apply(t, c, AddEntry, set, typ, all)
	if got := listed(t, c, set); !maps.Equal(got, want) {
		rt.Fatalf("%s %d: listed %v\nwant %v", typ, family, got, want)
	}
	gone := all[:len(all)/2]
	for _, e := range gone {
		delete(want, e)
	}
	apply(t, c, DeleteEntry, set, typ, gone)
	apply(t, c, DeleteEntry, set, typ, gone)
	if got := listed(t, c, set); !maps.Equal(got, want) {
		rt.Fatalf("%s %d: left %v\nwant %v", typ, family, got, want)
	}
}

func TestComments(t *testing.T) {
	c := isolated(t)
	const set = "comments"
	must(t, c.Create(Set{Name: set, Type: HashIP, Family: unix.AF_INET, Comments: true, MaxEntries: 1}))
	e := Entry{Addr: netip.MustParseAddr("10.0.0.1"), Bits: 32}
	for _, comment := range []string{"a", `"\'$(id)` + "\n\t\x7f\xff", "日本/サービス:http", strings.Repeat("x", MaxComment), "", "b"} {
		e.Comment = comment
		apply(t, c, AddEntry, set, HashIP, []Entry{e}) // replaces, though the set is full
		if got := listed(t, c, set); len(got) != 1 || !got[e] {
			t.Errorf("%q: %v", comment, got)
		}
	}
	var b netutil.Batch
	e.Comment = strings.Repeat("x", MaxComment+1)
	AddEntry(&b, set, HashIP, e)
	if errs := c.Exec(&b); errs == nil {
		t.Error("the kernel took a comment of 256 bytes")
	} else {
		t.Log("too long: ", errs[0])
	}
	must(t, c.Create(Set{Name: "plain", Type: HashIP, Family: unix.AF_INET}))
	b.Reset()
	e.Comment = "c"
	AddEntry(&b, "plain", HashIP, e)
	if errs := c.Exec(&b); errs == nil || !errors.Is(errs[0], unix.Errno(4112)) {
		t.Error(errs)
	}
}

func TestRefusals(t *testing.T) {
	c := isolated(t)
	must(t, c.Create(Set{Name: "tiny", Type: HashIP, Family: unix.AF_INET, MaxEntries: 2}))
	must(t, c.Create(Set{Name: "net", Type: HashNetPort, Family: unix.AF_INET}))
	var b netutil.Batch
	one := func(set string, typ Type, s string) {
		p := netip.MustParsePrefix(s)
		AddEntry(&b, set, typ, Entry{Addr: p.Addr(), Bits: uint8(p.Bits()), Proto: 6, Port: 80})
	}
	one("tiny", HashIP, "10.0.0.1/32")
	one("tiny", HashIP, "10.0.0.2/32")
	one("tiny", HashIP, "10.0.0.3/32") // full
	one("gone", HashIP, "10.0.0.4/32") // no such set
	one("tiny", HashIP, "10.0.0.2/32") // there already
	one("net", HashNetPort, "0.0.0.0/0")
	one("net", HashNetPort, "10.0.0.0/8")
	one("net", HashNetPort, "fd00::/8")
	errs := c.Exec(&b)
	want := []error{nil, nil, ErrFull, ErrNotFound, nil, ErrPrefix, nil, unix.Errno(4097)}
	for i, w := range want {
		if !errors.Is(errs[i], w) {
			t.Errorf("request %d: %v, want %v", i, errs[i], w)
		}
	}
	if got := listed(t, c, "tiny"); len(got) != 2 {
		t.Errorf("tiny: %v", got)
	}
	if err := c.List("gone", func(Entry) {}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestCreate(t *testing.T) {
	c := isolated(t)
	s := Set{Name: strings.Repeat("n", 31), Type: HashIPPort, Family: unix.AF_INET6, Comments: true}
	must(t, c.Create(s))
	e := Entry{Addr: netip.MustParseAddr("fd00::1"), Bits: 128, Proto: 17, Port: 53}
	apply(t, c, AddEntry, s.Name, s.Type, []Entry{e})
	must(t, c.Create(s))
	if got := listed(t, c, s.Name); !got[e] {
		t.Error("creating the same set anew emptied it")
	}
	for _, f := range []func(*Set){
		func(s *Set) { s.Type = HashIP }, func(s *Set) { s.Family = unix.AF_INET },
		func(s *Set) { s.Comments = false }, func(s *Set) { s.MaxEntries = 5 },
	} {
		other := s
		f(&other)
		if err := c.Create(other); !errors.Is(err, ErrExist) {
			t.Errorf("%+v: %v", other, err)
		}
	}
	for _, bad := range []Set{{Type: HashIP, Family: 2}, {Name: strings.Repeat("n", 32), Type: HashIP, Family: 2}, {Name: "n", Type: "hash:mac", Family: 2}} {
		if err := c.Create(bad); err == nil {
			t.Errorf("%+v was created", bad)
		}
	}
	sets, err := c.Sets()
	must(t, err)
	s.MaxEntries, s.Entries = DefaultMaxEntries, 1
	if len(sets) != 1 || sets[0].Memory == 0 {
		t.Fatalf("%+v", sets)
	}
	sets[0].Memory = 0
	if sets[0] != s {
		t.Errorf("%+v, want %+v", sets[0], s)
	}
	must(t, c.Destroy(s.Name))
	must(t, c.Destroy(s.Name))
	if sets, err = c.Sets(); err != nil || len(sets) != 0 {
		t.Error(sets, err)
	}
}

// A set with counters tells how many packets a rule has found in it, and goes
// on to where it is asked for again; one without them is taken as it is.
func TestCounters(t *testing.T) {
	c := isolated(t)
	s := Set{Name: "counts", Type: HashIPPort, Family: unix.AF_INET, Counters: true}
	plain := Set{Name: "plain", Type: HashIPPort, Family: unix.AF_INET}
	must(t, c.Create(s))
	must(t, c.Create(plain))
	hit := Entry{Addr: netip.MustParseAddr("127.0.0.1"), Bits: 32, Proto: 17, Port: 53}
	missed := hit
	missed.Port = 54
	apply(t, c, AddEntry, s.Name, s.Type, []Entry{hit, missed})
	run(t, "ip link set lo up; iptables -A OUTPUT -m set --match-set counts dst,dst -j DROP")
	for range 3 {
		// An unconnected socket is not told of the drop of an earlier datagram.
		run(t, "echo | socat -u - UDP4-SENDTO:127.0.0.1:53 2>/dev/null || true")
	}
	apply(t, c, AddEntry, s.Name, s.Type, []Entry{hit}) // as a repair does
	must(t, c.Create(s))
	hit.Packets = 3
	got := listed(t, c, s.Name)
	if len(got) != 2 || !got[hit] || !got[missed] {
		t.Errorf("%v, want %v and %v", got, hit, missed)
	}
	is, err := c.Set(s.Name)
	must(t, err)
	if !is.Counters || is.Entries != 2 || is.MaxEntries != DefaultMaxEntries {
		t.Errorf("%+v", is)
	}
	if _, err := c.Set("gone"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	s.Name = plain.Name
	must(t, c.Create(s))
	plain.Name = "counts"
	if err := c.Create(plain); !errors.Is(err, ErrExist) {
		t.Error(err)
	}
}

func run(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// A killed process has left the set of a probe behind.
func TestProbe(t *testing.T) {
	c := isolated(t)
	must(t, c.Create(Set{Name: ProbeName, Type: HashIPPort, Family: unix.AF_INET}))
	for typ := range layouts {
		for _, family := range families {
			must(t, c.Probe(typ, family))
		}
	}
	if sets, err := c.Sets(); err != nil || len(sets) != 0 {
		t.Errorf("left behind: %v %v", sets, err)
	}
	t.Log(c.Probe("hash:no", unix.AF_INET))
	// What a kernel without a type says.
	layouts["hash:lacks"] = layout{module: "ip_set_hash_lacks", revision: 9}
	defer delete(layouts, "hash:lacks")
	if err := c.Probe("hash:lacks", unix.AF_INET); !errors.Is(err, ErrNoType) || !strings.Contains(err.Error(), "modprobe ip_set_hash_lacks") {
		t.Error(err)
	}
}

// A set in use is waited for.
func TestDestroyInUse(t *testing.T) {
	c := isolated(t)
	must(t, c.Create(Set{Name: "member", Type: HashIP, Family: unix.AF_INET}))
	list := func(args ...string) {
		if out, err := exec.Command("ipset", args...).CombinedOutput(); err != nil {
			t.Skipf("ipset %v: %v %s", args, err, out)
		}
	}
	list("create", "lists", "list:set")
	list("add", "lists", "member")
	start := time.Now()
	if err := c.Destroy("member"); !errors.Is(err, ErrInUse) || time.Since(start) < time.Second {
		t.Error(err, time.Since(start))
	}
	done := make(chan error)
	go func() { done <- c.Destroy("member") }()
	time.Sleep(100 * time.Millisecond)
	list("destroy", "lists")
	must(t, <-done)
}
