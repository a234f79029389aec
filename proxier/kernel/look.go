package kernel

import (
	"context"
	"net/netip"

	"kube-ipvs/netutil"
)

// What people ask and the loop does not.

// Rules returns our chains of a family, which is state.IPv4 or state.IPv6, and
// the jumps to them as the kernel has them now, in the format of iptables-save,
// and how they differ from what Expect has told: a line each, that begins with
// "+" for what lacks and "-" for what is too much.
func (v *View) Rules(ctx context.Context, family netip.Addr) (text string, differ []string, err error) {
	if err := v.open(ctx); err != nil {
		return "", nil, err
	}
	want, own, err := v.parse(family, v.expected[number(family)/6])
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

// Addresses lists the addresses of all links, those of VIPs among them.
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
