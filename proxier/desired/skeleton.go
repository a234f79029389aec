package desired

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"kube-ipvs/proxier/state"
)

var (
	on          = state.Intern(state.Spec{Text: "1"})
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
	}
	seconds := func(key state.SettingKey, d time.Duration) {
		if n := int64(d / time.Second); n > 0 {
			v := state.Intern(state.Spec{Text: strconv.FormatInt(n, 10)})
			out = append(out, state.Object{ID: state.SettingID(key), Spec: v})
		}
	}
	established := cmp.Or(c.EstablishedTimeout, day)
	seconds(state.CloseWaitTimeout, cmp.Or(c.CloseWaitTimeout, time.Hour))
	seconds(state.EstablishedTimeout, established)
	// IPVS forgets an idle connection after 15 minutes by default and resets its
	// next packet. With virtual servers on ClusterIPs it must keep them as long
	// as conntrack does. Behind images conntrack carries them, and IPVS, which
	// does not see a client's reset there, had better forget them soon.
	idle := c.IPVSTCPTimeout
	if idle == 0 && c.Mode == Direct {
		if idle = established; idle < 0 {
			idle = day
		}
	}
	seconds(state.IPVSTCPTimeout, idle)
	seconds(state.IPVSTCPFinTimeout, c.IPVSTCPFinTimeout)
	seconds(state.IPVSUDPTimeout, c.IPVSUDPTimeout)
	return out
}

const day = 24 * time.Hour
