package model

import (
	"math"
	"net/netip"
	"slices"
	"unique"
)

// judgement is what rules say of an endpoint.
type judgement struct {
	percent int    // index of a rule that gives a percentage, or -1
	weight  uint32 // without a percentage
}

// share is the endpoints of a port that get the same weight.
type share struct {
	judgement
	n    int     // endpoints
	each float64 // the part of all connections that one of them gets, by any measure
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
	places := map[judgement]int{}     // in shares
	of := make([]int, 0, len(chosen)) // place in shares, by endpoint
	for i := range m.candidates {
		c := &m.candidates[i]
		if len(of) == len(chosen) || c.at != chosen[len(of)] {
			continue
		}
		j := m.judge(rules, c)
		at, known := places[j]
		if !known {
			at = len(shares)
			places[j], shares = at, append(shares, share{judgement: j})
		}
		shares[at].n++
		of = append(of, at)
	}
	if len(shares) < 2 {
		return nil
	}
	whole := m.whole(rules, shares)
	if whole == nil {
		return nil
	}
	out := make([]uint32, len(of))
	for i, at := range of {
		out[i] = whole[at]
	}
	return out
}

// weighed is shares of a port with the weights that they get; nil: they get no connections.
type weighed struct {
	shares []share
	whole  []uint32
}

// mostWeighed is how many weighed are kept: most ports of a Service have the same shares, one for
// each policy and family.
const mostWeighed = 4

// whole returns the weights of shares, nil if rules give none of them any connections.
func (m *Model) whole(rules []WeightRule, shares []share) []uint32 {
	for _, w := range m.weighed {
		if slices.Equal(w.shares, shares) {
			return w.whole
		}
	}
	w := weighed{shares: slices.Clone(shares)}
	if divide(shares, rules) {
		w.whole = wholeNumbers(shares)
	}
	if len(m.weighed) < mostWeighed {
		m.weighed = append(m.weighed, w)
	}
	return w.whole
}

// alike is what all endpoints have in common that rules cannot tell apart.
type alike struct {
	node   name
	traits unique.Handle[traits]
	weight uint32 // of the slice
}

// judge returns what rules say of an endpoint. It asks them once for all that are alike: a
// Service may have a thousand ports, as many endpoints, and maxRules rules.
func (m *Model) judge(rules []WeightRule, c *candidate) judgement {
	key := alike{c.node, c.traits, c.weight}
	j, known := m.judged[key]
	if !known {
		if m.judged == nil {
			m.judged = map[alike]judgement{}
		}
		j = m.rule(rules, c)
		m.judged[key] = j
	}
	return j
}

func (m *Model) rule(rules []WeightRule, c *candidate) judgement {
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
			return judgement{-1, c.weight}
		}
		switch {
		case matches && r.Percent:
			return judgement{i, 0}
		case matches:
			return judgement{-1, r.Weight}
		}
	}
	return judgement{-1, 1}
}

// divide sets each of the shares, and reports whether any is more than 0.
func divide(shares []share, rules []WeightRule) bool {
	rest, sum := 100.0, 0.0
	for _, s := range shares {
		if s.percent >= 0 {
			rest -= float64(rules[s.percent].Weight)
		}
		sum += float64(s.n) * float64(s.weight)
	}
	some := false
	for i := range shares {
		s := &shares[i]
		switch {
		case s.percent >= 0:
			s.each = float64(rules[s.percent].Weight) / float64(s.n)
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
	// All small scales are tried, and of the large ones some.
	for scale := 1.0; scale <= most; scale = math.Ceil(scale * 1.01) {
		sum := 0.0
		for i, s := range shares {
			whole[i] = 0
			if s.each > 0 {
				whole[i] = uint32(max(1, math.Round(s.each/heaviest*scale)))
			}
			sum += float64(s.n) * float64(whole[i])
		}
		if met(shares, whole, sum, all) {
			break
		}
	}
	return whole
}

// met reports whether weights with a sum give each of the shares what it ought to have of all.
func met(shares []share, whole []uint32, sum, all float64) bool {
	for i, s := range shares {
		got, ought := float64(s.n)*float64(whole[i])/sum, float64(s.n)*s.each/all
		if math.Abs(got-ought) > min(0.005, 0.02*ought) {
			return false
		}
	}
	return true
}
