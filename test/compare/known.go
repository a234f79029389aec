package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"sigs.k8s.io/yaml"
)

// Known is a difference of kube-ipvs from iptables mode that is meant, or that
// cannot be helped.
type Known struct {
	Proxies []string `json:"proxies"` // direct, image
	Cases   string   `json:"cases"`   // regular expression: all of "chapter / scenario / case"
	Outcome string   `json:"outcome"` // regular expression for the whole outcome of kube-ipvs
	Reason  string   `json:"reason"`  // in a line that a user understands
	Kernel  string   `json:"kernel,omitempty"`
	Better  bool     `json:"better,omitempty"` // for the user
	// Sometimes says that a run may not show it, since it is a matter of moments.
	Sometimes bool `json:"sometimes,omitempty"`
	cases     *regexp.Regexp
	outcome   *regexp.Regexp
	used      bool
}

func readKnown(path string) ([]*Known, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*Known
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, k := range out {
		var errs [2]error
		k.cases, errs[0] = regexp.Compile("^(?:" + k.Cases + ")$")
		k.outcome, errs[1] = regexp.Compile("^(?:" + k.Outcome + ")$")
		if err := errors.Join(errs[:]...); err != nil || k.Reason == "" || len(k.Proxies) == 0 {
			return nil, fmt.Errorf("%s: entry %d (%s) must name proxies, cases, outcome and reason: %w", path, i+1, k.Reason, err)
		}
	}
	return out, nil
}

// fault is a difference that is not known.
type fault struct {
	row   *Row
	proxy string
	first string // the proxy that it differs from
}

func (f fault) String() string {
	return fmt.Sprintf("%s: %s: %s, but %s: %s", f.row.ID(), f.proxy, f.row.Outcomes[f.proxy], f.first, f.row.Outcomes[f.first])
}

// apply finds the reason of every difference. It returns the differences that
// have none, and the reasons without a difference.
func apply(known []*Known, r *Results, ours []string) (faults []fault, unused []*Known) {
	for _, row := range r.Rows {
		for _, p := range ours {
			if !slices.Contains(r.Proxies, p) || r.Equal(row, p) || !r.Played(row) {
				continue
			}
			at := slices.IndexFunc(known, func(k *Known) bool {
				return slices.Contains(k.Proxies, p) && k.cases.MatchString(row.ID()) && k.outcome.MatchString(row.Outcomes[p])
			})
			if at < 0 {
				faults = append(faults, fault{row, p, r.Proxies[0]})
				continue
			}
			k := known[at]
			k.used = true
			if row.Reasons == nil {
				row.Reasons, row.Better = map[string]string{}, map[string]bool{}
			}
			row.Reasons[p] = k.text()
			row.Better[p] = k.Better
		}
	}
	for _, k := range known {
		if !k.used && !k.Sometimes {
			unused = append(unused, k)
		}
	}
	return faults, unused
}

func (k *Known) text() string {
	if k.Kernel == "" {
		return k.Reason
	}
	return k.Reason + " (kernel: " + k.Kernel + ")"
}
