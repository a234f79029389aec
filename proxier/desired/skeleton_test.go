package desired

import (
	"testing"
	"time"

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
