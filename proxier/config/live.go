package config

import (
	"reflect"
	"slices"
)

// Changes returns the fields that differ in another configuration, sorted: those that a running daemon
// can follow, and those that need a restart.
func (c *Config) Changes(to *Config) (live, restart []string) {
	next := to.fields()
	for path, v := range c.fields() {
		_, honoured := c.Origins[path]
		switch {
		case !honoured || reflect.DeepEqual(v.Interface(), next[path].Interface()):
		case isLive(path) && (c.Localhost == to.Localhost || path != "nodePortAddresses" && path != "iptables.localhostNodePorts"):
			live = append(live, path)
		default:
			restart = append(restart, path)
		}
	}
	slices.Sort(live)
	slices.Sort(restart)
	return live, restart
}

func isLive(path string) bool {
	s := specOf(path)
	return s != nil && s.live
}
