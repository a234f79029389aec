package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"kube-ipvs/test/lib/testbed"
)

// oddScenarios are objects as older API servers let them in: every API server serves
// the objects that are stored.
func oddScenarios() []Scenario {
	return chapter("Odd objects", append(together(
		Scenario{Name: "addresses with zeros in front", Play: written(padded)},
		Scenario{Name: "IPv4 addresses in IPv6 form, IPv6 with a dotted end", Play: written(mapped)},
		Scenario{Name: "edits beside addresses that cannot be served", Play: editedBeside},
	),
		ranged("source ranges with zeros in front", `" 192.168.050.002/032 ", "fd50::2/0128"`),
		ranged("source ranges in IPv6 form", `"::ffff:192.168.50.2/128", "fd50::0.0.0.2/128"`),
		ranged("source ranges with bits behind the prefix", `"192.168.60.77/24", "fd60::77/64"`),
	)...)
}

var (
	fourText = regexp.MustCompile(`"(\d+)\.(\d+)\.(\d+)\.(\d+)"`)
	sixText  = regexp.MustCompile(`"[0-9a-f:]*::[0-9a-f]*"`)
)

// padded writes the IPv4 addresses of a manifest with three digits a number.
func padded(manifest string) string {
	return fourText.ReplaceAllStringFunc(manifest, func(text string) string {
		var n [4]int
		for i, number := range strings.Split(strings.Trim(text, `"`), ".") {
			_, _ = fmt.Sscan(number, &n[i]) // it is one
		}
		return fmt.Sprintf(`"%03d.%03d.%03d.%03d"`, n[0], n[1], n[2], n[3])
	})
}

// mapped writes IPv4 addresses as IPv6 ones, and the last 32 bits of IPv6 addresses as
// IPv4 ones, but for IPv6 endpoints: there, API servers have always been strict.
func mapped(manifest string) string {
	service, slices, _ := strings.Cut(manifest, "---\napiVersion: discovery.k8s.io/v1")
	service = sixText.ReplaceAllStringFunc(service, func(text string) string {
		a := netip.MustParseAddr(strings.Trim(text, `"`))
		b := a.As16()
		return fmt.Sprintf(`"%s%d.%d.%d.%d"`, netip.PrefixFrom(a, 96).Masked().Addr(), b[12], b[13], b[14], b[15])
	})
	return fourText.ReplaceAllString(service+"---\napiVersion: discovery.k8s.io/v1"+slices, `"::ffff:$1.$2.$3.$4"`)
}

// putText is put for a manifest that writes the same otherwise.
func (s *Scene) putText(ctx context.Context, v testbed.Service, rewrite func(string) string, of ...*testbed.Host) error {
	backends := testbed.Backends(of...)
	s.Undo(func(ctx context.Context) error { return s.Control.Delete(ctx, v.Name) })
	s.serve(v, backends)
	if err := s.ApplyText(ctx, rewrite(s.With(v, backends))); err != nil {
		return err
	}
	return s.Programmed(ctx)
}

// written plays a Service with all its addresses, and those of its endpoints, written
// in another way; one endpoint goes.
func written(rewrite func(string) string) func(context.Context, *Scene) error {
	return func(ctx context.Context, s *Scene) error {
		v := s.Number(testbed.Service{Name: "odd", Type: "LoadBalancer", External: true})
		if err := s.putText(ctx, v, rewrite, s.P1, s.R1); err != nil {
			return err
		}
		s.Ask(ctx, "", s.allAsks(v)...)
		if err := s.putText(ctx, v, rewrite, s.P2); err != nil {
			return err
		}
		s.Ask(ctx, "with another endpoint", s.sides(v, "tcp", "udp")...)
		return nil
	}
}

// editedBeside gives a Service addresses that no packet comes to, and an endpoint in
// another form, and then edits the port and the endpoints.
func editedBeside(ctx context.Context, s *Scene) error {
	v := s.Number(testbed.Service{Name: "odd", Type: "LoadBalancer", Spec: []string{`externalIPs: ["239.1.2.3"]`}})
	odd := func(manifest string) string {
		return mapped(strings.Replace(manifest, "ingress: [", `ingress: [{ip: "169.254.77.1"}, `, 1))
	}
	if err := s.putText(ctx, v, odd, s.P1); err != nil {
		return err
	}
	s.Ask(ctx, "at first", s.sides(v, "tcp", "udp")...)
	old := v
	v.Port = 81
	if err := s.putText(ctx, v, odd, s.P2, s.R1); err != nil {
		return err
	}
	s.Ask(ctx, "another port and other endpoints", s.sides(v, "tcp", "udp")...)
	s.reach(ctx, "the old port", everyWay(s.C1, old.ClusterIP(), "tcp")...)
	s.reach(ctx, "the old port", everyWay(s.Ext, old.LoadBalancer(), "tcp")...)
	return nil
}
