package docs

import (
	"net/netip"
	"regexp"
	"strings"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

var declared = regexp.MustCompile(`(?m)^:(KIPVS-\S+)`)

// objects are the names that kube-ipvs gives: of sets without the prefix, of
// chains, and of sysctls.
func objects() map[string][]string {
	out := map[string][]string{}
	for _, set := range state.SetNames() {
		out["set"] = append(out["set"], strings.TrimPrefix(set.Kernel(state.IPv4), state.Prefix4))
	}
	c := desired.Config{Mode: desired.Image, Scheduler: "rr", Images: desired.DefaultImages,
		PodCIDRs: [2]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, m := range declared.FindAllStringSubmatch(c.Rules(state.IPv4), -1) {
		out["chain"] = append(out["chain"], m[1])
	}
	for _, key := range state.SettingKeys() {
		if key.Path() != "" {
			out["sysctl"] = append(out["sysctl"], key.String())
		}
	}
	return out
}
