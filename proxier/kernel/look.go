package kernel

import (
	"context"
	"net/netip"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// Rules returns kube-ipvs's present chains of a family, and the jumps to them, in the format of
// iptables-save. differ has the differences from the rules of Expect, one a line: "+" a missing
// rule or chain, "-" one too many, "!" one in another place or order.
func (v *View) Rules(ctx context.Context, family state.Family) (text string, differ []string, err error) {
	if err := v.open(ctx); err != nil {
		return "", nil, err
	}
	want, own, err := v.parse(family, v.expected[family])
	if err != nil {
		return "", nil, err
	}
	have, err := v.rules(ctx, family, netutil.Ruleset{}, netutil.Mark{})
	if err != nil {
		return "", nil, err
	}
	haveOwn, own, err := v.readOwn(family, own)
	if err != nil {
		return "", nil, err
	}
	have, want = have.Join(haveOwn), want.Join(own)
	return have.String(), netutil.Missing(have, want), nil
}

// Addresses returns the addresses of all links, including VIPs.
func (v *View) Addresses() ([]netip.Addr, error) {
	if err := v.openLinks(); err != nil {
		return nil, err
	}
	all, err := v.links.Addresses()
	out := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		out = append(out, a.Prefix.Addr())
	}
	return out, err
}
