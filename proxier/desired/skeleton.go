package desired

import (
	"net/netip"
	"strconv"

	"kube-ipvs/proxier/state"
)

var (
	on          = state.Intern(state.Spec{Text: "1"})
	closeWait   = state.Intern(state.Spec{Text: "3600"})
	forwardIPv6 = state.Object{ID: state.SettingID(state.IPv6Forward), Spec: on}
)

// Skeleton returns what stands on the node whatever Services there are.
func Skeleton(c Config, f state.Facts) []state.Object {
	out := settings(c, f)
	out = append(out, state.Object{ID: state.LinkID(), Spec: state.None})
	for _, family := range c.families() {
		for _, name := range state.SetNames() {
			out = append(out, state.Object{ID: state.SetID(name, family), Spec: state.None})
		}
		out = append(out, state.Object{ID: state.RulesID(family), Spec: state.Intern(state.Spec{Text: c.Rules(family)})})
		im := c.images(family)
		for _, p := range []netip.Prefix{im.Cluster, im.Local, im.NodePort} {
			out = append(out, state.Object{ID: state.RouteID(p), Spec: state.None})
		}
	}
	return out
}

func settings(c Config, f state.Facts) []state.Object {
	out := []state.Object{
		{ID: state.SettingID(state.VSConntrack), Spec: on},
		{ID: state.SettingID(state.ExpireNoDest), Spec: on},
		{ID: state.SettingID(state.ExpireQuiescent), Spec: on},
		{ID: state.SettingID(state.IPForward), Spec: on},
		{ID: state.SettingID(state.CloseWaitTimeout), Spec: closeWait},
	}
	if c.Mode == Direct && f.Established != 0 {
		// IPVS forgets an idle connection after 15 minutes and resets its next
		// packet; conntrack, as iptables mode uses it, keeps it for days.
		v := state.Intern(state.Spec{Text: strconv.FormatUint(uint64(f.Established), 10)})
		out = append(out, state.Object{ID: state.SettingID(state.IPVSTCPTimeout), Spec: v})
	}
	return out
}
