package netutil

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A trial leaves no table, and the one that is there; what was tried can be written.
func TestProbeOwn(t *testing.T) {
	for family, text := range map[Family]string{
		IPv4: "*kube-ipvs\n:KIPVS-A - [0:0]\n-A PREROUTING -i cni0 -j KIPVS-A\n-A KIPVS-A -s 10.0.0.0/8 -j NETMAP --to 240.0.0.0/5\nCOMMIT\n",
		IPv6: "*kube-ipvs\n:KIPVS-A - [0:0]\n-A OUTPUT -j KIPVS-A\n-A KIPVS-A ! -s fd00::/8 -j NETMAP --to 4000::/3\nCOMMIT\n",
	} {
		inNetns(t, func() {
			want, err := ParseRules(text, "KIPVS")
			must(t, err)
			for _, do := range []struct {
				there bool
				this  func(Family, Ruleset, SetIndex) error
			}{{false, ProbeOwn}, {true, WriteOwn}, {true, ProbeOwn}} {
				if err := do.this(family, want, nil); err != nil {
					lacks(t, "the nftables table of kube-ipvs: %v", err)
				}
				if there, err := HasNFTable(family, OwnTable); there != do.there || err != nil {
					t.Errorf("%s: a table is there: %v, %v; want %v", family, there, err, do.there)
				}
			}
		})
	}
}

// The parts of nftables are tried, and no table of ours stays, nor is another program's touched.
func TestProbe(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6} {
		inNetns(t, func() {
			if err := NFT.Probe(family); err != nil {
				lacks(t, "parts of nftables: %v", err)
			}
			if there, err := HasNFTable(family, probeTable); there || err != nil {
				t.Errorf("%s: a table is there: %v, %v", family, there, err)
			}
			c, err := Dial(unix.NETLINK_NETFILTER)
			must(t, err)
			defer c.Close()
			foreign := beginTransaction(family)
			foreign.request(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, text(unix.NFTA_TABLE_NAME, probeTable))
			must(t, foreign.commit(c))
			must(t, NFT.Probe(family))
			if there, err := HasNFTable(family, probeTable); !there || err != nil {
				t.Errorf("%s: the table of another program is there: %v, %v", family, there, err)
			}
		})
	}
}
