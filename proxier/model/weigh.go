package model

import (
	"math"
	"net/netip"
	"slices"
)

// share is the endpoints of a port that get the same weight.
type share struct {
	rule   int     // index of a percent rule, or -1
	weight uint32  // without a percent rule
	n      int     // endpoints
	each   float64 // the part of all connections that one of them gets, by any measure
}

// weigh returns the weights of chosen endpoints, which are sorted and candidates of a port. It
// returns nil if all are equal. They are equal too if no rule gives any endpoint more than 0:
// weights refuse no connection.
//
// A percentage is for all endpoints of its rule together, and the others share the rest in
// the ratio of their weights. Percentages of rules without endpoints go to the others.
func (m *Model) weigh(rules []WeightRule, chosen []netip.AddrPort) []uint32 {
	if len(rules) == 0 || len(chosen) < 2 {
		return nil
	}
	var shares []share
	of := make([]int, 0, len(chosen)) // index into shares, by endpoint
	for i := range m.candidates {
		if c := &m.candidates[i]; len(of) < len(chosen) && c.at == chosen[len(of)] {
			rule, weight := m.rule(rules, c)
			at := slices.IndexFunc(shares, func(s share) bool { return s.rule == rule && s.weight == weight })
			if at < 0 {
				at = len(shares)
				shares = append(shares, share{rule: rule, weight: weight})
			}
			shares[at].n++
			of = append(of, at)
		}
	}
	if len(shares) < 2 || !divide(shares, rules) {
		return nil
	}
	whole := wholeNumbers(shares)
	out := make([]uint32, len(of))
	for i, at := range of {
		out[i] = whole[at]
	}
	return out
}

// rule returns the rule of an endpoint, if that is a percentage, or its weight.
func (m *Model) rule(rules []WeightRule, c *candidate) (percent int, weight uint32) {
	has := c.traits.Value()
	for i, r := range rules {
		var matches bool
		switch r.By {
		case ByZone:
			matches = has.zone == r.Value || r.Value == own && has.zone != "" && has.zone == m.zone.Value()
		case ByNode:
			matches = c.node.Value() == r.Value || r.Value == own && m.local(c.endpoint)
		case ByWorkload:
			matches = has.workload == r.Value
		case ByAny:
			matches = true
		case BySlice:
			return -1, c.weight
		}
		switch {
		case matches && r.Percent:
			return i, 0
		case matches:
			return -1, r.Weight
		}
	}
	return -1, 1
}

// divide sets each of the shares, and reports whether any is more than 0.
func divide(shares []share, rules []WeightRule) bool {
	rest, sum := 100.0, 0.0
	for _, s := range shares {
		if s.rule >= 0 {
			rest -= float64(rules[s.rule].Weight)
		}
		sum += float64(s.n) * float64(s.weight)
	}
	some := false
	for i := range shares {
		s := &shares[i]
		switch {
		case s.rule >= 0:
			s.each = float64(rules[s.rule].Weight) / float64(s.n)
		case sum > 0:
			s.each = rest * float64(s.weight) / sum
		}
		some = some || s.each > 0
	}
	return some
}

// wholeNumbers returns the smallest weights by which each share gets the connections that it
// ought to, but for 2 % of them at most, and for 0.5 % of all. They are small since the kernel's wrr
// (ip_vs_wrr.c) gives the heaviest real servers as many connections in turn as their weight
// is over that of the others.
func wholeNumbers(shares []share) []uint32 {
	const most = 10_000
	all, heaviest := 0.0, 0.0
	for _, s := range shares {
		all += float64(s.n) * s.each
		heaviest = max(heaviest, s.each)
	}
	whole := make([]uint32, len(shares))
	for scale := 1.0; scale <= most; scale++ {
		sum := 0.0
		for i, s := range shares {
			whole[i] = 0
			if s.each > 0 {
				whole[i] = uint32(max(1, math.Round(s.each/heaviest*scale)))
			}
			sum += float64(s.n) * float64(whole[i])
		}
		met := true
		for i, s := range shares {
			n := float64(s.n)
			met = met && math.Abs(n*float64(whole[i])/sum-n*s.each/all) <= min(0.005, 0.02*n*s.each/all)
		}
		if met {
			break
		}
	}
	return whole
}
