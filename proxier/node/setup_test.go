package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/netutil"
)

func TestConntrackSysctls(t *testing.T) {
	const prefix = "net/netfilter/nf_conntrack_"
	atLeast := func(n string) Sysctl { return Sysctl{Path: prefix + "max", Value: n, AtLeast: true} }
	tests := []struct {
		name  string
		c     ConntrackConfig
		cores int
		want  []Sysctl
	}{
		{"nothing", ConntrackConfig{}, 4, nil},
		{"min without a share of a core", ConntrackConfig{Min: 131072}, 4, nil},
		{"few cores", ConntrackConfig{MaxPerCore: 32768, Min: 131072}, 2, []Sysctl{atLeast("131072")}},
		{"many cores", ConntrackConfig{MaxPerCore: 32768, Min: 131072}, 8, []Sysctl{atLeast("262144")}},
		{"very many cores", ConntrackConfig{MaxPerCore: 32768, Min: 131072}, 256, []Sysctl{atLeast("1048576")}},
		{"a minimum beyond the limit", ConntrackConfig{MaxPerCore: 32768, Min: 2097152}, 256, []Sysctl{atLeast("2097152")}},
		{"the rest", ConntrackConfig{
			TCPEstablishedTimeout: 24 * time.Hour, TCPCloseWaitTimeout: time.Hour, UDPTimeout: time.Minute, UDPStreamTimeout: 2 * time.Minute, TCPBeLiberal: true,
		}, 4, []Sysctl{
			{Path: prefix + "tcp_timeout_established", Value: "86400"}, {Path: prefix + "tcp_timeout_close_wait", Value: "3600"},
			{Path: prefix + "udp_timeout", Value: "60"}, {Path: prefix + "udp_timeout_stream", Value: "120"}, {Path: prefix + "tcp_be_liberal", Value: "1"},
		}},
	}
	for _, tt := range tests {
		if got := ConntrackSysctls(tt.c, tt.cores); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRight(t *testing.T) {
	tests := []struct {
		s    Sysctl
		have string
		want bool
	}{
		{Sysctl{Value: "1"}, "1", true},
		{Sysctl{Value: "1"}, "2", false},
		{Sysctl{Value: "4096 8192"}, "4096\t8192", true},
		{Sysctl{Value: "9", AtLeast: true}, "10", true},
		{Sysctl{Value: "10", AtLeast: true}, "9", false},
		{Sysctl{Value: "10", AtLeast: true}, "strange", false},
	}
	for _, tt := range tests {
		if got := tt.s.right(tt.have); got != tt.want {
			t.Errorf("%q for %+v: %v", tt.have, tt.s, got)
		}
	}
}

func TestCountRanges(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-1,4,6-7": 5, "": 0, "x": 0, "3-1": 0} {
		if got := countRanges(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
	if Cores() < 1 {
		t.Error("no cores")
	}
}

// inNetns runs f in a network namespace of its own.
func inNetns(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread and its namespace end with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		lacks(t, "network namespaces: %v", err)
	}
}

func TestApply(t *testing.T) {
	inNetns(t, func() {
		want := StrictARPSysctls()
		changed, err := Apply(append(want, Sysctl{Path: "net/ipv4/nonsense", Value: "1"}))
		if err == nil || !strings.Contains(err.Error(), "net.ipv4.nonsense") || strings.Contains(err.Error(), "arp") {
			t.Error(err)
		}
		if len(changed) != 2 || changed[1] != "net.ipv4.conf.all.arp_announce from 0 to 2" {
			t.Errorf("changed %q", changed)
		}
		for _, s := range want {
			if got, err := netutil.ReadSysctl(s.Path); got != s.Value {
				t.Errorf("%s is %s, %v", s.Path, got, err)
			}
		}
		if changed, err := Apply(want); len(changed) > 0 || err != nil {
			t.Errorf("again: %q, %v", changed, err)
		}
	})
}

// More IPv6 routes than the limit are used at the same time. Kernels that count them,
// as up to 5.9, fail from the 1,025th on.
func TestRouteSysctls(t *testing.T) {
	inNetns(t, func() {
		wanted := RouteSysctls()
		if len(wanted) == 0 {
			lacks(t, "IPv6")
		}
		links, err := netutil.OpenLinks()
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		_, err = Apply([]Sysctl{{Path: wanted[0].Path, Value: "100"}})
		if err = errors.Join(err, links.SetUp("lo")); err != nil {
			t.Error(err)
		}
		if changed, err := Apply(wanted); err != nil || len(changed) != 1 {
			t.Errorf("changed %q, %v", changed, err)
		}
		for n := range 1500 {
			to := netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x96, 14: byte(n >> 8), 15: byte(n)})
			var b netutil.Batch
			netutil.AddImageRoute(&b, 1, netip.PrefixFrom(to, 128))
			if err := errors.Join(links.Exec(&b)...); err != nil {
				t.Error(err)
				return
			}
			c, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
			if err != nil {
				t.Errorf("route %d: %v", n, err)
				return
			}
			_ = c.Close()
		}
	})
}

func applyAsRole() error {
	have, err := netutil.ReadSysctl("net/ipv4/conf/all/arp_announce")
	if err != nil {
		return err
	}
	right := Sysctl{Path: "net/ipv4/conf/all/arp_announce", Value: have}
	if changed, err := Apply([]Sysctl{right}); err != nil || len(changed) > 0 {
		return fmt.Errorf("what was right: %q, %w", changed, err)
	}
	_, err = Apply([]Sysctl{right, {Path: "net/ipv4/conf/all/arp_ignore", Value: "1"}})
	return err
}

// Where nothing may be written, what is right is no error, and what is not
// says all that one must know.
func TestApplyReadOnly(t *testing.T) {
	const readOnly = `mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && ! test -w /proc/sys/net/ipv4/ip_forward`
	by := []string{"unshare", "--net", "--mount", "sh", "-c"}
	if out, err := exec.Command(by[0], append(by[1:], readOnly)...).CombinedOutput(); err != nil {
		lacks(t, "a read-only /proc/sys: %v %s", err, out)
	}
	out, err := as("apply", append(by, readOnly+` && exec "$0"`)...).Output()
	if err == nil {
		t.Fatal("it was written")
	}
	for _, want := range []string{"error: it is 0 and should be 1: ", "set sysctl net.ipv4.conf.all.arp_ignore: ", "read-only", "--init-only"} {
		if !strings.Contains(string(out), want) || strings.Contains(string(out), "arp_announce") {
			t.Errorf("%q, want %q", out, want)
		}
	}
}

func TestSetup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hashsize")
	for _, tt := range []struct {
		have, want string
		changed    bool
	}{{"1024\n", "2048", true}, {"2048\n", "2048\n", false}, {"4096\n", "4096\n", false}} {
		if err := os.WriteFile(file, []byte(tt.have), 0o600); err != nil {
			t.Fatal(err)
		}
		change, err := raise(file, 2048)
		got, _ := os.ReadFile(file)
		if err != nil || string(got[:4]) != tt.want[:4] || (change != "") != tt.changed {
			t.Errorf("from %q: %q, %q, %v", tt.have, got, change, err)
		}
	}
	p, err := os.ReadFile(oomScoreAdj)
	if err != nil {
		t.Fatal(err)
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(p)))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := Setup(Config{OOMScoreAdj: &now}); err != nil || len(out.Changed)+len(out.Warnings) > 0 {
		t.Errorf("what is right already: %+v, %v", out, err)
	}
	impossible := 1001
	if out, err := Setup(Config{OOMScoreAdj: &impossible}); err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "should be 1001") {
		t.Errorf("an impossible score: %+v, %v", out, err)
	}
}
