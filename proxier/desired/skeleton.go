package desired

import (
	"net/netip"
	"strconv"
	"time"

	"kube-ipvs/proxier/state"
)

var (
	on          = state.Intern(state.Spec{Text: "1"})
	closeWait   = state.Intern(state.Spec{Text: "3600"})
	oneDay      = state.Intern(state.Spec{Text: "86400"})
	forwardIPv6 = state.Object{ID: state.SettingID(state.IPv6Forward), Spec: on}
)

// Skeleton returns what stands on the node whatever Services there are.
func Skeleton(c Config) []state.Object {
	out := settings(c)
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

func settings(c Config) []state.Object {
	out := []state.Object{
		{ID: state.SettingID(state.VSConntrack), Spec: on},
		{ID: state.SettingID(state.ExpireNoDest), Spec: on},
		{ID: state.SettingID(state.ExpireQuiescent), Spec: on},
		{ID: state.SettingID(state.IPForward), Spec: on},
		{ID: state.SettingID(state.CloseWaitTimeout), Spec: closeWait},
		{ID: state.SettingID(state.EstablishedTimeout), Spec: oneDay},
	}
	// IPVS forgets an idle connection after 15 minutes by default and resets its
	// next packet. With virtual servers on ClusterIPs it must keep them as long
	// as conntrack does. Behind images conntrack carries them, and IPVS, which
	// does not see a client's reset there, had better forget them soon.
	if seconds := int64(c.IPVSTCPTimeout / time.Second); seconds > 0 {
		v := state.Intern(state.Spec{Text: strconv.FormatInt(seconds, 10)})
		out = append(out, state.Object{ID: state.SettingID(state.IPVSTCPTimeout), Spec: v})
	} else if c.Mode == Direct {
		out = append(out, state.Object{ID: state.SettingID(state.IPVSTCPTimeout), Spec: oneDay})
	}
	return out
}
