package desired

import (
	"cmp"
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
		for _, p := range im.All() {
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
		if d >= time.Second {
			out = append(out, state.Object{ID: state.SettingID(key), Spec: inSeconds(d)})
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

// kernelTCPTimeout is how long IPVS keeps idle TCP connections unless it is told
// otherwise (tcp_timeouts of ip_vs_proto_tcp.c).
const kernelTCPTimeout = 15 * time.Minute

// TakenBack returns what the other mode has set in a kernel and this one must
// not inherit: with images, the TCP timeout of IPVS as virtual servers at
// ClusterIPs need it. Without such virtual servers, or with another value, it is
// an operator's, who has said so by ipvsadm and not by a flag.
func (c *Config) TakenBack(actual *state.State) []state.Want {
	if c.Mode != Image || c.IPVSTCPTimeout > 0 || !c.hasDirect(actual) {
		return nil
	}
	id := state.SettingID(state.IPVSTCPTimeout)
	have, ok := actual.Get(id)
	if !ok {
		return nil
	}
	// Direct mode gives IPVS conntrack's timeout, which it sets too, or a day.
	conntracks, _ := actual.Get(state.SettingID(state.EstablishedTimeout))
	if !have.Equal(conntracks) && !have.Equal(inSeconds(day)) {
		return nil
	}
	return []state.Want{{ID: id, Spec: inSeconds(kernelTCPTimeout), Present: true}}
}

// hasDirect reports whether a virtual server of ours stands at no image.
func (c *Config) hasDirect(actual *state.State) bool {
	for id := range actual.All() {
		if id.Kind == state.VirtualServer && c.SeesAll(id) && !actual.Adopted(id) {
			return true
		}
	}
	return false
}

// inSeconds is the Spec of a setting that is a time.
func inSeconds(d time.Duration) state.SpecRef {
	return state.Intern(state.Spec{Text: strconv.FormatInt(int64(d/time.Second), 10)})
}
