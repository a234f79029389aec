package config

import (
	"maps"
	"slices"
)

// gates follows the one feature gate that there is, and warns of others that
// are asked for and change nothing. KubeProxyIPVS says what is so anyway.
func (l *layers) gates(c *Config) {
	given := c.FeatureGates
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch on := given[name]; {
		case on && (name == "KubeProxyIPVS" || name == "AllowServiceExternalIPs"):
		case name == "AllowServiceExternalIPs":
			c.NoExternalIPs = true
		default:
			l.warn("featureGates", "%s=%t has no effect: kube-ipvs has no such gate", name, on)
		}
	}
}
