package desired

import (
	"net/netip"
	"testing"

	"kube-ipvs/proxier/model"
)

// KEP-5707: without them a Service's other frontends stay.
func TestNoExternalIPs(t *testing.T) {
	s := &model.Service{
		ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, ExternalIPs: []netip.Addr{netip.MustParseAddr("192.168.50.80")},
		Ports: []model.Port{{Port: 80}},
	}
	for forbidden, want := range map[bool][]Reach{false: {ClusterIP, External}, true: {ClusterIP}} {
		c := Config{Mode: Direct, Images: DefaultImages, NoExternalIPs: forbidden}
		var fs frontends
		fs.list(&c, s, func(netip.Addr) bool { return false })
		got := fs.all
		if len(got) != len(want) {
			t.Fatalf("forbidden %v: %v, want %v", forbidden, got, want)
		}
		for i := range want {
			if got[i].Reach != want[i] {
				t.Errorf("forbidden %v: %v, want %v", forbidden, got, want)
			}
		}
	}
}
