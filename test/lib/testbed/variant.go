package testbed

import (
	"hash/fnv"
	"os"
	"testing"
)

// Variant is how a kube-ipvs under test is set.
type Variant struct{ ClusterIPServers, VIPBinding string }

// Variants returns the variants that a test plays: two, in which each value of both settings comes
// once; or all four with LAB_VARIANTS=all; or with LAB_VARIANTS=one one of the two, by the name of the
// test, so that each value comes in half of the tests. Another suite plays the other two, for which
// it sets crossed.
func Variants(t *testing.T, crossed bool) []Variant {
	some, others := []Variant{{"direct", "address"}, {"image", "route"}}, []Variant{{"direct", "route"}, {"image", "address"}}
	if crossed {
		some, others = others, some
	}
	switch os.Getenv("LAB_VARIANTS") {
	case "all":
		return append(some, others...)
	case "one":
		name := fnv.New32a()
		_, _ = name.Write([]byte(t.Name()))
		i := name.Sum32() % 2
		return some[i : i+1]
	}
	return some
}
