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

// Skeleton returns the objects that do not depend on Services: settings, the link, sets,
// rules, and routes of mapped addresses.
func Skeleton(c Config) []state.Object {
	out := settings(c)
	out = append(out, state.Object{ID: state.LinkID(), Spec: state.None})
	for _, family := range c.families() {
		for _, name := range state.SetNames() {
			out = append(out, state.Object{ID: state.SetID(name, family), Spec: state.None})
		}
		out = append(out, state.Object{ID: state.RulesID(family), Spec: state.Intern(state.Spec{Text: c.Rules(family)})})
		for _, p := range c.Images[family].All() {
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
	// IPVS forgets an idle connection after 15 minutes by default and resets its next
	// packet. With virtual servers on ClusterIPs it must keep connections as long as
	// conntrack does. With mapped addresses conntrack carries them, and IPVS, which does
	// not see a client's reset, should forget them soon.
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

// kernelTCPTimeout is the default idle time of TCP connections in IPVS (tcp_timeouts of
// ip_vs_proto_tcp.c).
const kernelTCPTimeout = 15 * time.Minute

// TakenBack returns the settings of direct mode that Image mode must not inherit: the TCP
// timeout of IPVS for virtual servers at ClusterIPs. Without such virtual servers, or with
// another value, an operator has set the timeout by ipvsadm, and it stays.
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

// hasDirect reports whether a virtual server of kube-ipvs stands at no mapped address.
func (c *Config) hasDirect(actual *state.State) bool {
	for id := range actual.All() {
		if id.Kind == state.VirtualServer && c.SeesAll(id) && !actual.Adopted(id) {
			return true
		}
	}
	return false
}

// inSeconds returns the Spec of a setting in seconds.
func inSeconds(d time.Duration) state.SpecRef {
	return state.Intern(state.Spec{Text: strconv.FormatInt(int64(d/time.Second), 10)})
}
