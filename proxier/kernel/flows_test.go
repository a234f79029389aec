package kernel

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// contractNode is an address of the node in TestFlowsContract, and contractVIP one
// of kube-ipvs0's.
const contractNode, contractVIP = "192.168.50.1", "10.96.0.53"

// TestFlowsContract plays the same flows and deletions to the kernel and to Fake.
func TestFlowsContract(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		l := openLinux(t, netutil.NFT)
		defer l.Close()
		shell(t, "ip link add kube-ipvs0 type dummy; ip addr add "+contractVIP+"/32 dev kube-ipvs0; ip addr add "+contractNode+"/24 dev lo; ip addr add fd50::1/64 dev lo")
		rapid.Check(t, func(t *rapid.T) { flowsContract(t, l) })
	})
}

func shell(t interface {
	Fatalf(string, ...any)
	Helper()
}, script string,
) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

func drawFlow(t *rapid.T) Flow {
	pick := func(what string, from ...string) netip.AddrPort {
		return netip.MustParseAddrPort(rapid.SampledFrom(from).Draw(t, what))
	}
	f := Flow{Proto: rapid.SampledFrom([]state.Protocol{state.TCP, state.UDP, state.UDP, state.SCTP}).Draw(t, "proto"), Answered: rapid.Bool().Draw(t, "answered")}
	if rapid.Bool().Draw(t, "IPv4") {
		f.To = pick("to", contractVIP+":53", contractVIP+":30053", contractNode+":30053", "10.96.0.54:53")
		f.By = pick("by", "10.244.0.11:53", "10.244.0.12:53")
	} else {
		f.To = pick("to", "[fd96::53]:53", "[fd50::1]:30053", "[fd96::54]:53")
		f.By = pick("by", "[fd44::11]:53", "[fd44::12]:53")
	}
	if rapid.IntRange(0, 3).Draw(t, "NAT") == 0 {
		f.By = f.To
	}
	f.Node = f.To.Addr().String() == contractNode || f.To.Addr() == netip.MustParseAddr("fd50::1")
	return f
}

func drawFrontend(t *rapid.T, family netutil.Family) state.ID {
	f := drawFlow(t)
	if state.FamilyOf(f.To.Addr()) != family {
		f.To = netip.AddrPortFrom([...]netip.Addr{netip.MustParseAddr(contractNode), netip.MustParseAddr("fd50::1")}[family], 30053)
	}
	if rapid.Bool().Draw(t, "node port") {
		return state.NetEntryID(state.SetNodePort, f.Proto, netip.PrefixFrom(f.To.Addr(), 1), f.To.Port()).Flows()
	}
	return state.FlowID(f.Proto, f.To)
}

func flowsContract(t *rapid.T, l *Linux) {
	shell(t, "conntrack -F 2>/dev/null")
	fake := NewFake()
	var restore strings.Builder
	for i := range rapid.IntRange(0, 20).Draw(t, "flows") {
		f := drawFlow(t)
		fake.Track(f)
		client := netip.MustParseAddr("10.1.0.1")
		if f.To.Addr().Is6() {
			client = netip.MustParseAddr("fd01::1")
		}
		fmt.Fprintf(&restore, "-I -p %s -s %s -d %s --sport %d --dport %d -r %s -q %s --reply-port-src %d --reply-port-dst %d -t 600",
			f.Proto, client, f.To.Addr(), 1000+i, f.To.Port(), f.By.Addr(), client, f.By.Port(), 1000+i)
		restore.WriteString(map[state.Protocol]string{state.TCP: " --state ESTABLISHED", state.SCTP: " --state ESTABLISHED --orig-vtag 1 --reply-vtag 2"}[f.Proto])
		if f.Answered {
			restore.WriteString(" -u SEEN_REPLY")
		}
		restore.WriteByte('\n')
	}
	load := exec.Command("conntrack", "-R", "-")
	load.Stdin = strings.NewReader(restore.String())
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, restore.String())
	}
	k, err := l.Flows(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	family := rapid.SampledFrom([]netutil.Family{netutil.IPv4, netutil.IPv6}).Draw(t, "family")
	var to []state.ID
	for range rapid.IntRange(0, 6).Draw(t, "frontends") {
		to = append(to, drawFrontend(t, family))
	}
	spared := drawFlow(t)
	// Those that are to none of the frontends may be asked about or not.
	doomed := func(f Flow) bool { return fits(f, to) && f != spared }
	deleted, err := k.Delete(ctx, family, to, doomed)
	if err != nil {
		t.Fatal(err)
	}
	fakes, _ := fake.Flows(ctx)
	if n, _ := fakes.Delete(ctx, family, to, doomed); n != deleted {
		t.Errorf("deleted %d, the fake %d", deleted, n)
	}
	var left []string
	for _, f := range fake.Tracked() {
		left = append(left, fmt.Sprint(f))
	}
	slices.Sort(left)
	if got := tracked(t, k); !slices.Equal(got, left) {
		t.Fatalf("left\n%q, the fake\n%q", got, left)
	}
	if got, want := unanswered(t, k), unanswered(t, fakes); !slices.Equal(got, want) {
		t.Fatalf("unanswered\n%q, the fake\n%q", got, want)
	}
}

// unanswered lists the endpoints of TCP connections without an answer, one each.
func unanswered(t *rapid.T, k Flows) []string {
	var out []string
	for _, family := range []netutil.Family{netutil.IPv4, netutil.IPv6} {
		if err := k.Unanswered(ctx, family, func(at netip.AddrPort, _ uint32) { out = append(out, at.String()) }); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

// tracked lists what conntrack has.
func tracked(t *rapid.T, k Flows) []string {
	var out []string
	for _, family := range []netutil.Family{netutil.IPv4, netutil.IPv6} {
		if _, err := k.Delete(ctx, family, nil, func(f Flow) bool { out = append(out, fmt.Sprint(f)); return false }); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

// To delete flows needs CAP_NET_ADMIN and nothing else, as the daemon has it.
func TestFlowsNeedNoOtherRight(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		l := openLinux(t, netutil.NFT)
		defer l.Close()
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		only := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_ADMIN, Permitted: 1 << unix.CAP_NET_ADMIN, Inheritable: 1 << unix.CAP_NET_ADMIN}}
		load := exec.Command("conntrack", "-I", "-p", "udp", "-s", "10.1.0.1", "-d", contractVIP, "--sport", "1000", "--dport", "53", "-r", "10.244.0.11", "-q", "10.1.0.1", "--reply-port-src", "53", "--reply-port-dst", "1000", "-t", "600")
		if out, err := load.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
			return
		}
		if err := unix.Capset(&h, &only[0]); err != nil { // of this thread, which ends with the test
			t.Error(err)
			return
		}
		k, err := l.Flows(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		defer k.Close()
		n, err := k.Delete(ctx, netutil.IPv4, []state.ID{state.FlowID(state.UDP, netip.MustParseAddrPort(contractVIP+":53"))}, func(Flow) bool { return true })
		if n != 1 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
	})
}
