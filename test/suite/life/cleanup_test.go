package life

import "testing"

// cleanup removes each object that run has programmed.
func TestCleanupIsComplete(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		before := n.snapshot()
		n.enrich()
		d := n.start()
		n.settled()
		if r := d.first(); r.Failed != 0 {
			t.Errorf("%d writes of the first round failed", r.Failed)
		}
		d.stop()
		notVain(n, n.snapshot())
		if n.cleanup() == 0 {
			t.Error("cleanup removed nothing")
		}
		n.same("after cleanup the node is not as before", before, n.snapshot())
		if again := n.cleanup(); again != 0 {
			t.Errorf("the second cleanup removed %d objects", again)
		}
		if legacy := n.cleanup("--iptables-backend", "legacy"); legacy != 0 {
			t.Errorf("the cleanup of legacy iptables removed %d objects", legacy)
		}
		n.same("further cleanups changed the node", before, n.snapshot())
	})
}

// notVain checks that a snapshot shows each kind of object.
func notVain(n *node, s snapshot) {
	n.t.Helper()
	own := []string{`routes: local 10\.96\.0\.10 dev lo .* proto 77`}
	if n.binding == "address" {
		own = []string{`addresses: kube-ipvs0.* inet 10\.96\.0\.10/32`, `addresses: kube-ipvs0.* inet6 fd96::a/128`, `routes: local 10\.96\.0\.10 dev kube-ipvs0`}
	}
	for _, want := range append(own,
		`^-A PREROUTING -j KIPVS-NAT$`, `^-A PREROUTING -j KIPVS6-NAT$`, `^:KIPVS-GATE`, `ipset: create KIPVS-ALL `, `ipset: add KIPVS6-ALL fd96::a,tcp:80`,
		`link: kube-ipvs0`, `routes: local fd96::a .* proto 77`, `routes: local 240\.0\.0\.0/5`, `routes: local 4000::/3`,
		`nft: table ip kube-ipvs`, `nft: chain KIPVS6-VIP`,
		`ipvs: -A -t .*:80 -s rr`, `ipvs: -a -t .* -r 10\.244\.0\.2:8080 -m -w 1`, `ipvs: -a -u \[.*\]:53 -r \[fd44::2\]:8053`,
		`ipvs: -A -t .* -p 600`, `ipvs: -A -t .* -s mh`, `ipvs: -A --sctp-service`,
	) {
		if s.count(want) == 0 {
			n.t.Errorf("the snapshot has no line like %s", want)
		}
	}
}

// The variant of iptables in use is found out by cleanup, or given to it.
func TestCleanupOfLegacyIPTables(t *testing.T) {
	n := newNode(t, "direct")
	before := n.snapshot()
	n.enrich()
	n.flags = append(n.flags, "--iptables-backend", "legacy")
	for _, flags := range [][]string{nil, {"--iptables-backend", "legacy"}} {
		d := n.start()
		n.settled()
		d.stop()
		if during := n.snapshot(); during.count(`^-A PREROUTING -j KIPVS-NAT$`) != 1 {
			t.Errorf("legacy iptables does not have our jump once")
		}
		n.cleanup(flags...)
		n.same("after cleanup the node is not as before", before, n.snapshot())
	}
}

// A node that never ran kube-ipvs has nothing to remove.
func TestCleanupOfAVirginNode(t *testing.T) {
	n := newNode(t, "direct")
	before := n.snapshot()
	for _, flags := range [][]string{nil, {"--iptables-backend", "nft"}, {"--iptables-backend", "legacy"}} {
		if removed := n.cleanup(flags...); removed != 0 {
			t.Errorf("cleanup %q removed %d objects", flags, removed)
		}
	}
	n.same("cleanup changed a node that it had no business on", before, n.snapshot())
}
