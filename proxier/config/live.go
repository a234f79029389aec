package config

import (
	"reflect"
	"slices"
)

// liveFields are those that a running daemon can follow: rules, sets and virtual
// servers that are rendered anew, and periods of the loop.
var liveFields = map[string]bool{
	"clusterCIDR": true, "nodePortAddresses": true, "iptables.masqueradeAll": true, "iptables.localhostNodePorts": true, "featureGates": true,
	"ipvs.scheduler": true, "ipvs.minSyncPeriod": true, "ipvs.tcpTimeout": true, "ipvs.tcpFinTimeout": true, "ipvs.udpTimeout": true,
	"conntrack.tcpEstablishedTimeout": true, "conntrack.tcpCloseWaitTimeout": true, "logging.verbosity": true,
	"maxServiceFrontends": true, "auditPeriod": true, "drainTimeout": true,
}

// Changes returns the fields that differ in another configuration, sorted: those
// that a running daemon can follow, and those for which it must be started again.
func (c *Config) Changes(to *Config) (live, restart []string) {
	next := to.docs.fields()
	for path, v := range c.docs.fields() {
		_, honoured := c.Origins[path]
		switch {
		case !honoured || reflect.DeepEqual(v.Interface(), next[path].Interface()):
		case liveFields[path] && (c.Localhost == to.Localhost || path != "nodePortAddresses" && path != "iptables.localhostNodePorts"):
			live = append(live, path)
		default:
			restart = append(restart, path)
		}
	}
	slices.Sort(live)
	slices.Sort(restart)
	return live, restart
}
