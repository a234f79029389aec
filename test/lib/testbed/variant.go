package testbed

import "os"

// Variant is how a kube-ipvs under test is set.
type Variant struct{ ClusterIPServers, VIPBinding string }

// Variants returns the variants that tests of a suite play: two, in which each value of both
// settings comes once, or all four with LAB_VARIANTS=all. Another suite plays the other two, for
// which it sets crossed.
func Variants(crossed bool) []Variant {
	some, others := []Variant{{"direct", "address"}, {"image", "route"}}, []Variant{{"direct", "route"}, {"image", "address"}}
	if crossed {
		some, others = others, some
	}
	if os.Getenv("LAB_VARIANTS") == "all" {
		return append(some, others...)
	}
	return some
}
