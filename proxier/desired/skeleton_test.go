package desired

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kube-ipvs/proxier/state"
)

// What conntrack and IPVS keep is as kube-proxy's configuration says, and IPVS
// keeps direct connections as long as conntrack does.
func TestTimeouts(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		want   map[state.SettingKey]string // "": left as it is
	}{
		{"default", Config{Mode: Direct}, map[state.SettingKey]string{
			state.EstablishedTimeout: "86400", state.CloseWaitTimeout: "3600", state.IPVSTCPTimeout: "86400", state.IPVSTCPFinTimeout: "", state.IPVSUDPTimeout: ""}},
		{"conntrack's own", Config{Mode: Direct, EstablishedTimeout: time.Hour}, map[state.SettingKey]string{
			state.EstablishedTimeout: "3600", state.IPVSTCPTimeout: "3600"}},
		{"left alone", Config{Mode: Direct, EstablishedTimeout: -1, CloseWaitTimeout: -1}, map[state.SettingKey]string{
			state.EstablishedTimeout: "", state.CloseWaitTimeout: "", state.IPVSTCPTimeout: "86400"}},
		{"said", Config{Mode: Direct, IPVSTCPTimeout: time.Minute, IPVSTCPFinTimeout: 30 * time.Second, IPVSUDPTimeout: 20 * time.Second}, map[state.SettingKey]string{
			state.EstablishedTimeout: "86400", state.IPVSTCPTimeout: "60", state.IPVSTCPFinTimeout: "30", state.IPVSUDPTimeout: "20"}},
		{"image", Config{Mode: Image}, map[state.SettingKey]string{state.EstablishedTimeout: "86400", state.IPVSTCPTimeout: ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := map[state.SettingKey]string{}
			for _, o := range settings(tt.config) {
				got[o.ID.Setting] = o.Spec.Value().Text
			}
			for k, want := range tt.want {
				if got[k] != want {
					t.Errorf("%s is %q, want %q", k, got[k], want)
				}
			}
		})
	}
}

// What direct mode has set for virtual servers at ClusterIPs goes with them; what
// an operator has set without a flag stays.
func TestTakenBack(t *testing.T) {
	direct := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:80"))
	image := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("242.96.0.10:80"))
	tests := []struct {
		name           string
		config         Config
		server         state.ID
		flags          uint32
		conntrack, tcp string
		want           string // "": it stays
	}{
		{"after direct", Config{Mode: Image}, direct, state.FlagOurs, "86400", "86400", "900"},
		{"after direct with conntrack's of then", Config{Mode: Image, EstablishedTimeout: time.Hour}, direct, state.FlagOurs, "7200", "7200", "900"},
		{"after direct that left conntrack's", Config{Mode: Image, EstablishedTimeout: -1}, direct, state.FlagOurs, "432000", "86400", "900"},
		{"an operator's", Config{Mode: Image}, direct, state.FlagOurs, "86400", "7200", ""},
		{"no direct before", Config{Mode: Image}, image, state.FlagOurs, "86400", "86400", ""},
		{"kube-proxy before", Config{Mode: Image}, direct, 0, "86400", "86400", ""},
		{"said", Config{Mode: Image, IPVSTCPTimeout: time.Hour}, direct, state.FlagOurs, "86400", "86400", ""},
		{"still direct", Config{Mode: Direct}, direct, state.FlagOurs, "86400", "86400", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Images = DefaultImages
			s := &state.State{}
			s.Put(tt.server, state.Intern(state.Spec{Scheduler: "rr", Flags: tt.flags}))
			s.Put(state.SettingID(state.EstablishedTimeout), state.Intern(state.Spec{Text: tt.conntrack}))
			s.Put(state.SettingID(state.IPVSTCPTimeout), state.Intern(state.Spec{Text: tt.tcp}))
			got := ""
			for _, w := range tt.config.TakenBack(s) {
				got += w.Spec.Value().Text
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Where all addresses are pods', no rule is about others: iptables-nft refuses
// "! -s 0.0.0.0/0", and without it each rule for others would hit pods.
func TestAllAddressesArePods(t *testing.T) {
	some, all := config(Image), config(Image)
	all.PodCIDRs = [2]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for _, family := range state.Families(true) {
		var want []string
		for line := range strings.Lines(some.Rules(family)) {
			if !strings.Contains(line, "! -s "+some.PodCIDRs[family].String()) {
				want = append(want, strings.ReplaceAll(line, some.PodCIDRs[family].String(), all.PodCIDRs[family].String()))
			}
		}
		if got := all.Rules(family); got != strings.Join(want, "") {
			t.Errorf("with %s:\n%s", all.PodCIDRs[family], cmp.Diff(strings.Join(want, ""), got))
		}
	}
}
