package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/state"
)

// effective turns the documents into typed values, and notes all that is wrong.
func (l *layers) effective() *Config {
	p, o := &l.docs.proxy, &l.docs.own
	c := &Config{
		Zone: o.Zone, Manifests: o.Manifests, APIServers: o.APIServers, ConfigSyncPeriod: p.ConfigSyncPeriod.Duration, ServiceProxyName: o.ServiceProxyName,
		Client: Client{p.ClientConnection.Kubeconfig, p.ClientConnection.AcceptContentTypes, p.ClientConnection.ContentType,
			p.ClientConnection.QPS, int(p.ClientConnection.Burst)},
		Config: desired.Config{
			Mode: desired.Mode(o.ClusterIPServers), Scheduler: p.IPVS.Scheduler, MasqueradeAll: p.IPTables.MasqueradeAll,
			MaxFrontends: int(o.MaxServiceFrontends), IPVSTCPTimeout: p.IPVS.TCPTimeout.Duration,
			IPVSTCPFinTimeout: p.IPVS.TCPFinTimeout.Duration, IPVSUDPTimeout: p.IPVS.UDPTimeout.Duration,
		},
		DrainTimeout: o.DrainTimeout.Duration, Takeover: o.Takeover,
		SyncPeriod: p.IPVS.SyncPeriod.Duration, MinSyncPeriod: p.IPVS.MinSyncPeriod.Duration, AuditPeriod: o.AuditPeriod.Duration,
		StrictARP: p.IPVS.StrictARP, BindAddressHardFail: p.BindAddressHardFail, Profiling: p.EnableProfiling,
		TrafficMetrics: TrafficMetrics(o.TrafficMetrics), TrafficMetricsTop: int(o.TrafficMetricsTop),
		FeatureGates: p.FeatureGates, LogFormat: p.Logging.Format, Verbosity: int(p.Logging.Verbosity),
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
	name := l.docs.proxy.HostnameOverride
	if name == "" {
		host, err := os.Hostname()
		l.check("hostnameOverride", err)
		name = host
	}
	c.NodeName = strings.ToLower(strings.TrimSpace(name))
	switch bad := validation.IsDNS1123Subdomain(c.NodeName); {
	case c.NodeName == "":
		l.check("hostnameOverride", errors.New("the name of the node is empty"))
	case l.docs.proxy.HostnameOverride != "" && len(bad) > 0: // such as a $(NODE_NAME) that nobody has replaced
		l.check("hostnameOverride", fmt.Errorf("%q is not a name of a node: %s", name, strings.Join(bad, "; ")))
	}
	l.check("zone", label(c.Zone))
	bind, err := addr(l.docs.proxy.BindAddress)
	l.check("bindAddress", err)
	c.BindAddress = bind
	for _, s := range l.docs.own.NodeIPs {
		ip, err := addr(s)
		if err == nil && slices.ContainsFunc(c.NodeIPs, func(o netip.Addr) bool { return o.Is4() == ip.Is4() }) {
			err = fmt.Errorf("%s is the second address of its family", ip)
		}
		l.check("nodeIPs", err)
		c.NodeIPs = append(c.NodeIPs, ip)
	}
}

func (l *layers) traffic(c *Config) {
	p := &l.docs.proxy
	l.check("mode", modeProblem(string(p.Mode)))
	l.check("clusterIPServers", oneOf(c.Mode, desired.Direct, desired.Image))
	if !slices.Contains(state.Schedulers, c.Scheduler) {
		l.check("ipvs.scheduler", fmt.Errorf("%q is no IPVS scheduler; those are %s", c.Scheduler, strings.Join(state.Schedulers, ", ")))
	}
	c.PodTraffic = LocalMode(p.DetectLocalMode)
	c.BridgeInterface, c.InterfaceNamePrefix = p.DetectLocal.BridgeInterface, p.DetectLocal.InterfaceNamePrefix
	l.check("detectLocalMode", oneOf(c.PodTraffic, ByClusterCIDR, ByNodeCIDR, ByBridgeInterface, ByInterfacePrefix))
	switch c.PodTraffic {
	case ByBridgeInterface:
		l.check("detectLocal.bridgeInterface", interfaceName(c.BridgeInterface))
	case ByInterfacePrefix:
		l.check("detectLocal.interfaceNamePrefix", interfaceName(c.InterfaceNamePrefix))
	}
	var err error
	if c.PodCIDRs, err = perFamily(items(p.ClusterCIDR)); c.PodTraffic == ByClusterCIDR {
		l.check("clusterCIDR", err)
	} else if err != nil {
		l.warn("clusterCIDR", "it has no effect with detectLocalMode %s: %v", c.PodTraffic, err)
	}
	l.nodePorts(c)
	if bit := *p.IPTables.MasqueradeBit; bit < 0 || bit > 31 {
		l.check("iptables.masqueradeBit", fmt.Errorf("%d is not between 0 and 31", bit))
	} else {
		c.MasqueradeBit = uint8(bit)
	}
	l.check("maxServiceFrontends", notNegative(c.MaxFrontends))
	c.VIPBinding = netutil.Binding(l.docs.own.VIPBinding)
	l.check("vipBinding", oneOf(c.VIPBinding, netutil.BindAddress, netutil.BindRoute))
	switch b := netutil.Backend(l.docs.own.IPTablesBackend); b {
	case "auto":
	case netutil.NFT, netutil.Legacy:
		c.IPTablesBackend = b
	default:
		l.check("iptablesBackend", fmt.Errorf("%q is neither nft nor legacy nor auto", b))
	}
	c.ExcludeCIDRs, err = cidrs(p.IPVS.ExcludeCIDRs)
	l.check("ipvs.excludeCIDRs", err)
	if len(c.ExcludeCIDRs) > 0 && !c.Takeover {
		l.warn("ipvs.excludeCIDRs", "it is of use with takeover only: virtual servers of others are never touched")
	}
}

func modeProblem(mode string) error {
	if mode == "ipvs" {
		return nil
	}
	return fmt.Errorf("%q is not a mode of kube-ipvs, which has one: ipvs. Set that or leave it empty, or run kube-proxy", mode)
}

func (l *layers) loop(c *Config) {
	l.check("auditPeriod", atLeast(c.AuditPeriod, time.Second))
	l.check("drainTimeout", atLeast(c.DrainTimeout, 0))
	l.check("configSyncPeriod", positive(c.ConfigSyncPeriod))
	l.check("ipvs.syncPeriod", positive(c.SyncPeriod))
	l.check("ipvs.minSyncPeriod", atLeast(c.MinSyncPeriod, 0))
	if c.MinSyncPeriod > c.SyncPeriod && c.SyncPeriod > 0 {
		l.check("ipvs.minSyncPeriod", fmt.Errorf("%s is more than ipvs.syncPeriod, %s", c.MinSyncPeriod, c.SyncPeriod))
	}
}

func (l *layers) kernel(c *Config) {
	t := &l.docs.proxy.Conntrack
	c.Conntrack = Conntrack{int(*t.MaxPerCore), int(*t.Min), t.TCPEstablishedTimeout.Duration, t.TCPCloseWaitTimeout.Duration,
		t.UDPTimeout.Duration, t.UDPStreamTimeout.Duration, t.TCPBeLiberal}
	l.check("conntrack.maxPerCore", notNegative(c.Conntrack.MaxPerCore))
	l.check("conntrack.min", notNegative(c.Conntrack.Min))
	l.seconds("conntrack.tcpEstablishedTimeout", &c.Conntrack.TCPEstablishedTimeout)
	l.seconds("conntrack.tcpCloseWaitTimeout", &c.Conntrack.TCPCloseWaitTimeout)
	l.seconds("conntrack.udpTimeout", &c.Conntrack.UDPTimeout)
	l.seconds("conntrack.udpStreamTimeout", &c.Conntrack.UDPStreamTimeout)
	l.seconds("ipvs.tcpTimeout", &c.IPVSTCPTimeout)
	l.seconds("ipvs.tcpFinTimeout", &c.IPVSTCPFinTimeout)
	l.seconds("ipvs.udpTimeout", &c.IPVSUDPTimeout)
	c.OOMScoreAdj = int(*l.docs.proxy.OOMScoreAdj)
	if c.OOMScoreAdj < -1000 || c.OOMScoreAdj > 1000 {
		l.check("oomScoreAdj", fmt.Errorf("%d is not between -1000 and 1000", c.OOMScoreAdj))
	}
}

func (l *layers) served(c *Config) {
	healthz, metrics := bindDefaults(c.BindAddress)
	p := &l.docs.proxy
	var err error
	c.HealthzAddress, err = bindAddress(&p.HealthzBindAddress, healthz, healthzPort)
	l.check("healthzBindAddress", err)
	c.MetricsAddress, err = bindAddress(&p.MetricsBindAddress, metrics, metricsPort)
	l.check("metricsBindAddress", err)
	if c.HealthzAddress.IsValid() && c.HealthzAddress == c.MetricsAddress {
		l.warn("metricsBindAddress", "%s is where healthz is served, too: one of the two cannot be", c.MetricsAddress)
	}
	l.check("trafficMetrics", oneOf(c.TrafficMetrics, TrafficOff, TrafficByService, TrafficByEndpoint))
	if c.TrafficMetricsTop < 1 {
		l.check("trafficMetricsTop", fmt.Errorf("%d is less than 1", c.TrafficMetricsTop))
	}
	l.check("logging.format", oneOf(c.LogFormat, "text", "json"))
}

func (l *layers) source(c *Config) {
	l.check("serviceProxyName", label(c.ServiceProxyName))
	l.check("clientConnection.burst", notNegative(c.Client.Burst))
	for _, s := range c.APIServers {
		l.check("apiServers", server(s))
	}
	for _, s := range c.Manifests {
		if s == "" {
			l.check("manifests", errors.New("an empty path"))
		}
	}
	if len(c.Manifests) > 0 && len(c.APIServers) > 0 {
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
