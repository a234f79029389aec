package kernel

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// sh runs a script in the namespace of the calling thread.
func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v %s", script, err, out)
	}
	return string(out)
}

// ipvsMode is what kube-proxy's IPVS mode leaves on a small node.
const ipvsMode = `
ip link set lo up; ip addr add 192.0.2.1/32 dev lo; ip -6 addr add 2001:db8::1/128 dev lo
ip link add kube-ipvs0 type dummy
ip addr add 10.96.0.10/32 dev kube-ipvs0; ip -6 addr add fd96::a/128 dev kube-ipvs0; ip addr add 203.0.113.5/32 dev kube-ipvs0
ip addr add 198.51.100.7/32 dev kube-ipvs0
for vs in 10.96.0.10:80 203.0.113.5:80 192.0.2.1:30080 '[fd96::a]:80' '[2001:db8::1]:30080' 198.51.100.7:80; do
  ipvsadm -A -t $vs -s rr
done
ipvsadm -a -t 10.96.0.10:80 -r 10.244.0.11:8080 -m; ipvsadm -a -t 192.0.2.1:30080 -r 10.244.0.11:8080 -m
ipvsadm -A -t 192.0.2.1:8443 -s rr; ipvsadm -A -f 5 -s rr; ipvsadm -A -t 192.0.2.99:30080 -s rr
ipset create KUBE-CLUSTER-IP hash:ip,port; ipset add KUBE-CLUSTER-IP 10.96.0.10,tcp:80
ipset create KUBE-LOOP-BACK hash:ip,port,ip; ipset create KUBE-6-LOAD-BALANCER-SOURCE-CID hash:ip,port,net family inet6
ipset create KUBE-NODE-PORT-TCP bitmap:port range 0-65535; ipset add KUBE-NODE-PORT-TCP 30080
ipset create KUBE-6-NODE-PORT-TCP bitmap:port range 0-65535; ipset add KUBE-6-NODE-PORT-TCP 30080
ipset create KUBE-NODE-PORT-SCTP-HASH hash:ip,port; ipset add KUBE-NODE-PORT-SCTP-HASH 192.0.2.1,sctp:30090
ipset create KUBE-ROUTER-X hash:net; ipset create OTHERS hash:ip`

// ipvsRules are its rules, those of a kubelet and those of others.
const ipvsRules = `*mangle
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-IPTABLES-HINT - [0:0]
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-ROUTER-OUTPUT - [0:0]
:CNI-HOSTPORT - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-ROUTER-OUTPUT
-A PREROUTING -j CNI-HOSTPORT
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" -m set --match-set KUBE-CLUSTER-IP src,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-MARK-DROP -j MARK --or-mark 0x8000
-A CNI-HOSTPORT -p tcp --dport 8443 -j DNAT --to-destination 10.244.0.11:8443
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN
COMMIT
`

// iptablesRules are those of the iptables mode.
const iptablesRules = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
:KUBE-SEP-SNH5OG4T6JZQRPE7 - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-POD-FW-SNH5OG4T6JZQRPE7 - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-NPX46M4PTMTKRN6Y -m statistic --mode random --probability 0.5 -j KUBE-SEP-SNH5OG4T6JZQRPE7
-A KUBE-SEP-SNH5OG4T6JZQRPE7 -p tcp -m recent --name KUBE-SEP --set -m tcp -j DNAT --to-destination 10.244.0.11:6443
COMMIT
`

func restore(t *testing.T, b netutil.Backend, family netutil.Family, rules string) {
	t.Helper()
	if err := b.Restore(ctx, family, rules); err != nil {
		t.Fatal(err)
	}
}

func TestFindAndRemoveKubeProxy(t *testing.T) {
	needLab(t)
	tests := []struct {
		name  string
		leave func(t *testing.T)
		found string // as String says
		count int    // removed
		left  []string
	}{
		{"nothing", func(*testing.T) {}, "", 0, nil},
		{"a kubelet and others", func(t *testing.T) {
			sh(t, "ip link add kube-ipvs0 type dummy; ipset create KUBE-ROUTER-X hash:net")
			kubelet := strings.NewReplacer("-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n", "",
				"-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n", "", ":KUBE-SERVICES - [0:0]\n", "").Replace(ipvsRules)
			var lines []string
			for _, l := range strings.Split(kubelet, "\n") {
				if !strings.Contains(l, "match-set") && !strings.Contains(l, "KUBE-FORWARD") && !strings.Contains(l, "KUBE-IPVS") {
					lines = append(lines, l)
				}
			}
			restore(t, netutil.NFT, netutil.IPv4, strings.Join(lines, "\n"))
		}, "", 2, []string{"-A OUTPUT -j KUBE-ROUTER-OUTPUT"}},
		{"ipvs mode", func(t *testing.T) {
			sh(t, ipvsMode)
			restore(t, netutil.NFT, netutil.IPv4, ipvsRules)
		}, "ipvs mode: device kube-ipvs0 with 4 addresses, 4 virtual servers on its addresses, 6 ipsets (KUBE-6-LOAD-BALANCER-SOURCE-CID, KUBE-6-NODE-PORT-TCP, KUBE-CLUSTER-IP, ...), " +
			"3 chains of iptables-nft for IPv4 (filter KUBE-FORWARD, filter KUBE-IPVS-FILTER, nat KUBE-SERVICES)", 5 + 3, []string{
			"-A OUTPUT -j KUBE-ROUTER-OUTPUT", "-A PREROUTING -j CNI-HOSTPORT", "-A INPUT -j KUBE-FIREWALL", "-A KUBE-MARK-DROP", ":KUBE-KUBELET-CANARY", ":KUBE-IPTABLES-HINT",
		}},
		{"iptables mode, legacy", func(t *testing.T) { restore(t, netutil.Legacy, netutil.IPv4, iptablesRules) },
			"iptables mode: 5 chains of iptables-legacy for IPv4 (nat KUBE-NODEPORTS, nat KUBE-PROXY-CANARY, nat KUBE-SEP-SNH5OG4T6JZQRPE7, ...)", 5, []string{":KUBE-POD-FW-SNH5OG4T6JZQRPE7"}},
		{"iptables mode, IPv6", func(t *testing.T) {
			restore(t, netutil.NFT, netutil.IPv6, strings.NewReplacer("10.96.0.1/32", "fd96::1/128", "10.244.0.11:6443", "[fd44::11]:6443").Replace(iptablesRules))
		}, "iptables mode: 5 chains of iptables-nft for IPv6 (nat KUBE-NODEPORTS, nat KUBE-PROXY-CANARY, nat KUBE-SEP-SNH5OG4T6JZQRPE7, ...)", 5, []string{":KUBE-POD-FW-SNH5OG4T6JZQRPE7"}},
		{"nftables mode", func(t *testing.T) {
			sh(t, "nft add table ip kube-proxy; nft add table ip6 kube-proxy; nft add table ip other")
		},
			"nftables mode: nftables table kube-proxy for IPv4, nftables table kube-proxy for IPv6", 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { inNetns(t, func() { findAndRemove(t, tt.leave, tt.found, tt.count, tt.left) }) })
	}
}

func findAndRemove(t *testing.T, leave func(*testing.T), want string, count int, left []string) {
	leave(t)
	f, err := FindKubeProxy(ctx)
	if err != nil || f.String() != want || f.Any() != (want != "") {
		t.Fatalf("found %q, %v\nwant  %q", f, err, want)
	}
	for _, want := range []int{count, 0} {
		if n, err := RemoveKubeProxy(ctx); n != want || err != nil {
			t.Fatalf("removed %d, %v; want %d", n, err, want)
		}
	}
	saved := sh(t, "iptables-nft-save; ip6tables-nft-save; iptables-legacy-save")
	for _, line := range left {
		if !strings.Contains(saved, line) {
			t.Errorf("%s is gone, left is\n%s", line, saved)
		}
	}
	for _, line := range strings.Split(saved, "\n") {
		for _, gone := range []string{"KUBE-SERVICES", "KUBE-MARK-MASQ", "KUBE-POSTROUTING", "KUBE-SVC", "KUBE-SEP", "KUBE-FORWARD", "KUBE-IPVS", "CANARY"} {
			if strings.Contains(line, gone) && !strings.Contains(line, "KUBE-KUBELET") {
				t.Errorf("left %q", line)
			}
		}
	}
	if out := sh(t, "nft list tables | grep kube-proxy || true"); out != "" {
		t.Errorf("left %s", out)
	}
}

// Sets that tell the node ports stay until their virtual servers are gone, and
// what others hold is left alone and is an error.
func TestRemoveKubeProxyInSteps(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		sh(t, ipvsMode)
		sets := func() string { return sh(t, "ipset list -n | sort | tr '\n' ' '") }
		if _, err := RemoveKubeProxy(ctx); err != nil {
			t.Fatal(err)
		}
		if got := sets(); got != "KUBE-6-NODE-PORT-TCP KUBE-NODE-PORT-SCTP-HASH KUBE-NODE-PORT-TCP KUBE-ROUTER-X OTHERS " {
			t.Errorf("with virtual servers on node ports: %s", got)
		}
		sh(t, "ipvsadm -D -t 192.0.2.1:30080; ipvsadm -D -t [2001:db8::1]:30080; ipset create KUBE-IPVS-IPS hash:ip; iptables -A INPUT -m set --match-set KUBE-IPVS-IPS dst")
		n, err := RemoveKubeProxy(ctx)
		if n != 3 || err == nil || !strings.Contains(err.Error(), "KUBE-IPVS-IPS") {
			t.Errorf("removed %d, %v", n, err)
		}
		if got := sets(); got != "KUBE-IPVS-IPS KUBE-ROUTER-X OTHERS " {
			t.Errorf("in the end: %s", got)
		}
	})
}

// A chain that a chain of others uses stays, with what it needs.
func TestRemoveKubeProxySpares(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		restore(t, netutil.NFT, netutil.IPv4, strings.Replace(iptablesRules, "COMMIT\n", ":CNI - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n-A CNI -j KUBE-MARK-MASQ\nCOMMIT\n", 1))
		if n, err := RemoveKubeProxy(ctx); n != 5 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if saved := sh(t, "iptables-nft-save"); !strings.Contains(saved, "-A CNI -j KUBE-MARK-MASQ") || !strings.Contains(saved, "-A KUBE-MARK-MASQ -j MARK") {
			t.Errorf("left\n%s", saved)
		}
	})
}

func openTakeOver(t *testing.T, exclude ...string) *Linux {
	t.Helper()
	o := Options{IPv6: true, Backend: netutil.NFT, TakeOver: true}
	for _, p := range exclude {
		o.ExcludeCIDRs = append(o.ExcludeCIDRs, netip.MustParsePrefix(p))
	}
	l, err := OpenLinux(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	l.Expect(testRules())
	return l
}

// adopted lists what Read says of devices, addresses and servers.
func adopted(t *testing.T, l *Linux) []string {
	t.Helper()
	have, err := l.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for id, spec := range have.All() {
		switch id.Kind {
		case state.Link, state.VIP, state.VirtualServer, state.RealServer:
			out = append(out, state.Object{ID: id, Spec: spec}.String())
		}
	}
	slices.Sort(out)
	return out
}

func TestTakeOverReads(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		sh(t, ipvsMode)
		plain := openLinux(t, netutil.NFT)
		defer plain.Close()
		if got := adopted(t, plain); len(got) != 1 {
			t.Errorf("without being told to: %q", got)
		}
		l := openTakeOver(t, "198.51.100.0/24")
		defer l.Close()
		wrong := " " + state.WrongRoute.String()
		want := []string{
			"link kube-ipvs0 " + state.NoAlias.String(),
			"real server 10.244.0.11:8080 of 10.96.0.10:80/tcp weight 1", "real server 10.244.0.11:8080 of 192.0.2.1:30080/tcp weight 1",
			"vip 10.96.0.10" + wrong, "vip 203.0.113.5" + wrong, "vip fd96::a" + wrong,
			"virtual server 10.96.0.10:80/tcp rr foreign", "virtual server 192.0.2.1:30080/tcp rr foreign", "virtual server 203.0.113.5:80/tcp rr foreign",
			"virtual server [2001:db8::1]:30080/tcp rr foreign", "virtual server [fd96::a]:80/tcp rr foreign",
		}
		got := adopted(t, l)
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
		sh(t, "ip link set kube-ipvs0 alias theirs")
		if got := adopted(t, l); len(got) != 4 { // the link, and node ports
			t.Errorf("of a device with another's alias: %q", got)
		}
	})
}

// TestTakeOverEdits writes what is wanted over what is there: the virtual
// server keeps its real server and its counters, the rest goes.
func TestTakeOverEdits(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		sh(t, ipvsMode)
		l := openTakeOver(t)
		defer l.Close()
		server := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:80"))
		real := state.RealServerID(server, netip.MustParseAddrPort("10.244.0.11:8080"))
		vip := server.Addr()
		var wants []state.Want
		for _, o := range desired.Skeleton(testConfig) {
			wants = append(wants, state.Want{ID: o.ID, Spec: o.Spec, Present: true})
		}
		for _, o := range []state.Object{
			{ID: server, Spec: state.Intern(state.Spec{Scheduler: "lc", Flags: state.FlagOurs})}, {ID: real, Spec: state.Weight(1)},
			{ID: state.VIPEntryID(vip), Spec: state.None}, {ID: state.VIPID(vip), Spec: state.None},
		} {
			wants = append(wants, state.Want{ID: o.ID, Spec: o.Spec, Present: true})
		}
		have, err := l.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for id := range have.All() {
			if !slices.ContainsFunc(wants, func(w state.Want) bool { return w.ID == id }) {
				wants = append(wants, state.Want{ID: id})
			}
		}
		plan := state.NewPlan(state.Diff(wants, have, none{}))
		for _, op := range plan {
			if op.ID == real || op.ID == server && op.Verb != state.Change {
				t.Errorf("planned to %s", op)
			}
		}
		if errs := l.Apply(ctx, plan); errs != nil {
			t.Fatal(errs)
		}
		if got := sh(t, "ip -d link show kube-ipvs0"); !strings.Contains(got, "alias kube-ipvs") {
			t.Errorf("the device is not marked: %s", got)
		}
		got := fmt.Sprint(adopted(t, l))
		if got != "[link kube-ipvs0 real server 10.244.0.11:8080 of 10.96.0.10:80/tcp weight 1 vip 10.96.0.10 virtual server 10.96.0.10:80/tcp lc]" {
			t.Errorf("in the end %s", got)
		}
		f, err := FindKubeProxy(ctx)
		if err != nil || strings.Contains(f.String(), "device") || strings.Contains(f.String(), "virtual") {
			t.Errorf("found afterwards: %s, %v", f, err)
		}
	})
}
