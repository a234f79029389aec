package life

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Objects of others, as close to ours as they may be: on our VIPs, in the
// built-in chains before ours, with names that begin almost like ours.
const foreign = `
ipvsadm -A -t 192.0.2.10:80 -s wlc; ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.20:8080 -m -w 3; ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.21:8080 -g -w 0
ipvsadm -A -t 10.96.0.10:9999 -s sh; ipvsadm -a -t 10.96.0.10:9999 -r 10.244.0.2:8080 -m
ipvsadm -A -u [fd96::a]:9999 -s rr -p 60; ipvsadm -a -u [fd96::a]:9999 -r [fd44::2]:8080 -m
ipvsadm -A -t 242.96.0.10:9999 -s rr
ipvsadm -A -f 7 -s rr; ipvsadm -a -f 7 -r 192.0.2.22:0 -g
ipvsadm -A -f 8 -6 -s rr; ipvsadm -a -f 8 -6 -r [2001:db8::22]:0 -g
ipset create OTHERS hash:ip,port; ipset add OTHERS 10.96.0.10,tcp:80
ipset create KIPVSX hash:net; ipset add KIPVSX 10.244.0.0/16
for t in iptables ip6tables; do
  for c in 'mangle PREROUTING' 'nat PREROUTING' 'nat POSTROUTING' 'nat OUTPUT' 'filter INPUT' 'filter FORWARD' 'filter OUTPUT'; do
    set -- $c
    $t -t $1 -N OTHERS-$2; $t -t $1 -A OTHERS-$2 -p tcp --dport 22 -j ACCEPT
    $t -t $1 -A $2 -m comment --comment before -j OTHERS-$2
  done
  $t -t nat -N KIPVSX-NAT; $t -t nat -A PREROUTING -j KIPVSX-NAT
  $t -P FORWARD DROP
done
ip route add local 203.0.113.0/24 dev lo table local
ip -6 route add local 2001:db8:7::/64 dev lo table local
ip addr add 198.51.100.1/32 dev lo`

// Changes by other programs while kube-ipvs runs.
const foreignLater = `
ip addr add 198.51.100.7/32 dev kube-ipvs0; ip -6 addr add 2001:db8::7/128 dev kube-ipvs0 nodad; ip addr add 198.51.100.130/25 dev kube-ipvs0
ip route add local 198.51.100.9 dev kube-ipvs0 table local
for t in iptables ip6tables; do
  for c in 'mangle PREROUTING' 'nat PREROUTING' 'nat POSTROUTING' 'filter FORWARD' 'filter INPUT'; do
    set -- $c
    $t -t $1 -A $2 -m comment --comment after -j OTHERS-$2
    $t -t $1 -I $2 1 -m comment --comment first -j OTHERS-$2
  done
done`

// ours are the lines of a snapshot that go with cleanup. ipvsadm does not show
// our flag, flag-3, next to those of the scheduler mh. With an address goes the route
// that the kernel has made of it.
var ours = regexp.MustCompile(`KIPVS6?-|proto 77|flag-3|mh-port|^# (link|addresses): kube-ipvs0|^# routes: local 10\.96\.\S+ dev kube-ipvs0 .*proto kernel`)

// theirs returns the objects of other programs in the snapshot, in its order: real
// servers go with their virtual server, addresses are those that only others have.
func theirs(s snapshot) snapshot {
	mine := map[string]bool{}
	for _, line := range s {
		if f := strings.Fields(line); strings.HasPrefix(line, "# ipvs: -A") && ours.MatchString(line) {
			mine[f[3]+" "+f[4]] = true
		}
	}
	var out snapshot
	for _, line := range s {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# nft: ") && line != "# nft: # nft": // our table alone
		case strings.HasPrefix(line, "# ipvs: -a") && mine[f[3]+" "+f[4]]:
		case strings.HasPrefix(line, "# addresses: kube-ipvs0") && foreignAddress.MatchString(line):
			out = append(out, line)
		case !ours.MatchString(line):
			out = append(out, line)
		}
	}
	return out
}

var foreignAddress = regexp.MustCompile(`198\.51\.100\.|2001:db8:`)

// inFront is the one thing of others that is in our way.
var inFront = regexp.MustCompile(`^rules IPv[46] was changed: ! \w+ \w+: the jump to OTHERS-\w+ stands in front`)

func TestForeignObjectsStay(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.sh(foreign)
		want := n.snapshot()
		n.enrich()
		d := n.start("--audit-period", "1s")
		n.settled()
		n.same("the start changed what is not ours", theirs(want), theirs(n.snapshot()))
		n.sh(foreignLater)
		want = theirs(n.snapshot())
		for _, line := range []string{"198.51.100.7/32", "2001:db8::7/128", "198.51.100.130/25", "comment first", "comment after", "-f 7 ", "KIPVSX-NAT", "OTHERS 10.96.0.10,tcp:80"} {
			if want.count(regexp.QuoteMeta(line)) == 0 {
				t.Fatalf("the snapshot of foreign objects lacks %q", line)
			}
		}
		churn(n)
		seen := len(d.records())
		d.awaitRound(seen, func(r record) bool { return r.Full })
		n.same("churn or an audit changed what is not ours", want, theirs(n.snapshot()))
		for _, r := range d.records() {
			if r.Failed != 0 || strings.HasPrefix(r.Msg, "drift") && !inFront.MatchString(r.What) {
				t.Errorf("round %d: failed=%d, drift %s over objects that are not ours", r.Round, r.Failed, r.What)
			}
		}
		d.kill()
		d = n.start()
		d.wroteNothing()
		d.stop()
		n.same("a restart changed what is not ours", want, theirs(n.snapshot()))
		n.cleanup()
		n.same("cleanup left something, or changed what is not ours", want, leftovers(n.snapshot()))
	})
}

// leftovers returns a snapshot after cleanup without the device, which must
// stay as long as others have addresses on it.
func leftovers(s snapshot) snapshot {
	return s.without(regexp.MustCompile(`^# link: kube-ipvs0`))
}

// churn changes, removes and brings back Services.
func churn(n *node) {
	n.t.Helper()
	files := rich()
	n.remove("outside.yaml")
	n.settled()
	n.put("outside.yaml", files["outside.yaml"])
	n.put("refused.yaml", files["refused.yaml"])
	n.put("plain.yaml", manifest(spec{name: "web", ips: both(10), ports: []corev1.ServicePort{tcp("http", 80, 0)}, endpoints: there(9)}))
	n.settled()
	n.put("plain.yaml", files["plain.yaml"])
	n.settled()
}

// A device that was there before us stays, with the address that others put
// on it and without ours.
func TestForeignDeviceStays(t *testing.T) {
	n := newBoundNode(t, "direct", "address")
	n.sh("ip link add kube-ipvs0 type dummy; ip addr add 198.51.100.7/32 dev kube-ipvs0; ip link set kube-ipvs0 alias theirs")
	before := n.snapshot()
	n.enrich()
	d := n.start()
	n.settled()
	if s := n.snapshot(); s.count(`inet 10\.96\.0\.10/32.*kube-ipvs0`) != 1 {
		t.Error("the ClusterIP is not on the device")
	}
	d.stop()
	n.cleanup()
	n.same("cleanup left something, or changed what is not ours", before, n.snapshot())
}

// Where a virtual server of others stands in the way, it stays, it is named,
// and all else works; once it is gone ours takes its place.
func TestForeignVirtualServerInTheWay(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		in := n.server(10) + ":80"
		n.enrich()
		d := n.start()
		n.settled()
		d.stop()
		whole := n.snapshot()
		n.cleanup()
		n.sh("ipvsadm -A -t %[1]s -s lc; ipvsadm -a -t %[1]s -r 192.0.2.20:8080 -m -w 3", in)
		want := n.snapshot()
		d = n.start("--audit-period", "1s")
		named := func(r record) bool {
			return r.Msg == "problem" && r.Object == "Service default/web" && strings.Contains(r.What, "add virtual server "+in+"/tcp")
		}
		d.awaitRecord(0, named)
		for range 2 {
			seen := len(d.records())
			d.awaitRound(seen, func(r record) bool { return r.Full })
		}
		if n := len(slices.DeleteFunc(d.records(), func(r record) bool { return !named(r) })); n != 1 {
			t.Errorf("named %d times, want once", n)
		}
		got := n.snapshot()
		// Entries that would lead clients to another program's virtual server are missing, too.
		about := regexp.MustCompile(`-[tA] ` + regexp.QuoteMeta(in) + ` |KIPVS-CLUSTER 10\.96\.0\.10,tcp:80`)
		n.same("what is not ours was changed", only(want, about), only(got, about))
		n.same("something else is missing", whole.without(about), got.without(about))
		n.sh("ipvsadm -D -t %s", in)
		n.await(func() error {
			if diff := difference(whole, n.snapshot()); diff != "" {
				return fmt.Errorf("not as it should be:\n%s", diff)
			}
			return nil
		})
		d.stop()
	})
}

func only(s snapshot, match *regexp.Regexp) snapshot {
	var out snapshot
	for _, line := range s {
		if match.MatchString(line) {
			out = append(out, line)
		}
	}
	return out
}
