package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// effective returns the documents as typed values, and notes all errors.
func (l *layers) effective() *Config {
	p, o := &l.docs.Proxy, &l.docs.Own
	c := &Config{documents: l.docs, Config: desired.Config{
		Mode: o.ClusterIPServers, Scheduler: p.IPVS.Scheduler, MasqueradeAll: p.IPTables.MasqueradeAll, MaxFrontends: int(o.MaxServiceFrontends),
		IPVSTCPTimeout: p.IPVS.TCPTimeout.Duration, IPVSTCPFinTimeout: p.IPVS.TCPFinTimeout.Duration, IPVSUDPTimeout: p.IPVS.UDPTimeout.Duration,
	}}
	for i := range specs {
		s := &specs[i]
		l.check(s.path, s.problem(plain(l.fields[s.path])))
	}
	l.node(c)
	l.traffic(c)
	l.loop(c)
	l.kernel(c)
	l.served(c)
	l.source(c)
	c.Images = l.images()
	l.overlaps(c)
	return c
}

func (l *layers) node(c *Config) {
	name := l.docs.Proxy.HostnameOverride
	if name == "" {
		host, err := os.Hostname()
		l.check("hostnameOverride", err)
		name = host
	}
	c.NodeName = strings.ToLower(strings.TrimSpace(name))
	switch bad := validation.IsDNS1123Subdomain(c.NodeName); {
	case c.NodeName == "":
		l.check("hostnameOverride", errors.New("the name of the node is empty"))
	case l.docs.Proxy.HostnameOverride != "" && len(bad) > 0: // such as a $(NODE_NAME) that was not replaced
		l.check("hostnameOverride", fmt.Errorf("%q is not a name of a node: %s", name, strings.Join(bad, "; ")))
	}
	bind, err := addr(l.docs.Proxy.BindAddress)
	l.check("bindAddress", err)
	c.BindAddress = bind
	for _, s := range l.docs.Own.NodeIPs {
		ip, err := addr(s)
		if err == nil && slices.ContainsFunc(c.NodeIPs, func(o netip.Addr) bool { return o.Is4() == ip.Is4() }) {
			err = fmt.Errorf("%s is the second address of its family", ip)
		}
		l.check("nodeIPs", err)
		c.NodeIPs = append(c.NodeIPs, ip)
	}
}

func (l *layers) traffic(c *Config) {
	p := &l.docs.Proxy
	switch p.DetectLocalMode {
	case ByBridgeInterface:
		l.check("detectLocal.bridgeInterface", interfaceName(p.DetectLocal.BridgeInterface))
	case ByInterfacePrefix:
		l.check("detectLocal.interfaceNamePrefix", interfaceName(p.DetectLocal.InterfaceNamePrefix))
	}
	var err error
	if c.PodCIDRs, err = perFamily(items(p.ClusterCIDR)); p.DetectLocalMode == ByClusterCIDR {
		l.check("clusterCIDR", err)
	} else if err != nil {
		l.warn("clusterCIDR", "it has no effect with detectLocalMode %s: %v", p.DetectLocalMode, err)
	}
	l.nodePorts(c)
	c.MasqueradeBit = uint8(*p.IPTables.MasqueradeBit)
	if b := l.docs.Own.IPTablesBackend; b != "auto" {
		c.IPTablesBackend = netutil.Backend(b)
	}
	c.ExcludeCIDRs, err = cidrs(p.IPVS.ExcludeCIDRs)
	l.check("ipvs.excludeCIDRs", err)
	if len(c.ExcludeCIDRs) > 0 && !c.Own.Takeover {
		l.warn("ipvs.excludeCIDRs", "it has an effect with takeover only: without it kube-ipvs never touches virtual servers of other programs")
	}
}

func modeProblem(mode string) error {
	if mode == "ipvs" {
		return nil
	}
	return fmt.Errorf("%q is not a mode of kube-ipvs, which has one: ipvs. Set that or leave it empty, or run kube-proxy", mode)
}

func schedulerProblem(name string) error {
	if slices.Contains(state.Schedulers, name) {
		return nil
	}
	return fmt.Errorf("%q is not an IPVS scheduler; the schedulers are %s", name, strings.Join(state.Schedulers, ", "))
}

func (l *layers) loop(c *Config) {
	if least, most := c.Proxy.IPVS.MinSyncPeriod.Duration, c.Proxy.IPVS.SyncPeriod.Duration; least > most && most > 0 {
		l.check("ipvs.minSyncPeriod", fmt.Errorf("%s is more than ipvs.syncPeriod, %s", least, most))
	}
}

func (l *layers) kernel(c *Config) {
	t := &l.docs.Proxy.Conntrack
	c.Conntrack = Conntrack{int(*t.MaxPerCore), int(*t.Min), t.TCPEstablishedTimeout.Duration, t.TCPCloseWaitTimeout.Duration,
		t.UDPTimeout.Duration, t.UDPStreamTimeout.Duration, t.TCPBeLiberal}
	l.seconds("conntrack.tcpEstablishedTimeout", &c.Conntrack.TCPEstablishedTimeout)
	l.seconds("conntrack.tcpCloseWaitTimeout", &c.Conntrack.TCPCloseWaitTimeout)
	l.seconds("conntrack.udpTimeout", &c.Conntrack.UDPTimeout)
	l.seconds("conntrack.udpStreamTimeout", &c.Conntrack.UDPStreamTimeout)
	l.seconds("ipvs.tcpTimeout", &c.IPVSTCPTimeout)
	l.seconds("ipvs.tcpFinTimeout", &c.IPVSTCPFinTimeout)
	l.seconds("ipvs.udpTimeout", &c.IPVSUDPTimeout)
}

func (l *layers) served(c *Config) {
	healthz, metrics := bindDefaults(c.BindAddress)
	p := &l.docs.Proxy
	var err error
	c.HealthzAddress, err = bindAddress(&p.HealthzBindAddress, healthz, healthzPort)
	l.check("healthzBindAddress", err)
	c.MetricsAddress, err = bindAddress(&p.MetricsBindAddress, metrics, metricsPort)
	l.check("metricsBindAddress", err)
	if c.HealthzAddress.IsValid() && c.HealthzAddress == c.MetricsAddress {
		l.warn("metricsBindAddress", "%s is also the address of healthz: only one of them can be served", c.MetricsAddress)
	}
}

func (l *layers) source(c *Config) {
	for _, s := range c.Own.APIServers {
		l.check("apiServers", server(s))
	}
	for _, s := range c.Own.Manifests {
		if s == "" {
			l.check("manifests", errors.New("an empty path"))
		}
	}
	if len(c.Own.Manifests) > 0 && len(c.Own.APIServers) > 0 {
		l.warn("apiServers", "it has no effect beside manifests")
	}
}

func server(s string) error {
	text := s
	if !strings.Contains(s, "://") {
		text = "https://" + s
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is not an API server such as https://10.0.0.1:6443", s)
	}
	return nil
}

func label(s string) error {
	if bad := validation.IsValidLabelValue(s); len(bad) > 0 {
		return fmt.Errorf("%q is not a label's value: %s", s, strings.Join(bad, "; "))
	}
	return nil
}
