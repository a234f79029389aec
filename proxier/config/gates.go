package config

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// switches decodes a group of NAME: true or NAME: false. As in kube-proxy, null means false.
func (d *decoder) switches(n *yaml.Node, path string) map[string]bool {
	out := map[string]bool{}
	for _, p := range d.pairs(n, path) {
		v, name := resolve(p.value), p.key.Value
		on, err := boolOf(v)
		if err != nil {
			d.fail(v, join(path, name), "%s is not true or false", show(v))
		}
		out[name] = on
	}
	return out
}

// gates applies the one feature gate of kube-ipvs, and warns of other gates that are set and have no
// effect. KubeProxyIPVS needs no warning.
func (l *layers) gates(c *Config) {
	given := c.Proxy.FeatureGates
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
