package chart

import (
	"strings"
	"testing"
)

// helm refuses a wrong value before it creates anything, by its name, and with the
// remedy.
func TestBadValues(t *testing.T) {
	for name, c := range map[string]struct {
		set  []string // over minimal.yaml
		want []string // in helm's message
	}{
		"unknown key":            {set: []string{"kubeproxy.mode=ipvs"}, want: []string{"kubeproxy"}},
		"unknown key below":      {set: []string{"kubeProxyConfiguration.ipvs.schedular=rr"}, want: []string{"kubeProxyConfiguration/ipvs", "schedular"}},
		"unknown scheduler":      {set: []string{"kubeProxyConfiguration.ipvs.scheduler=fastest"}, want: []string{"kubeProxyConfiguration/ipvs/scheduler", "'wlc'"}},
		"bad pod CIDR":           {set: []string{"kubeProxyConfiguration.clusterCIDR=10.244.0.0/33"}, want: []string{"kubeProxyConfiguration/clusterCIDR"}},
		"address for a CIDR":     {set: []string{"kubeProxyConfiguration.clusterCIDR=10.244.0.0"}, want: []string{"kubeProxyConfiguration/clusterCIDR"}},
		"two CIDRs of a family":  {set: []string{`kubeProxyConfiguration.clusterCIDR=10.0.0.0/16\,10.1.0.0/16`}, want: []string{"kubeProxyConfiguration.clusterCIDR", "one of IPv4 and one of IPv6"}},
		"bad node port CIDR":     {set: []string{"kubeProxyConfiguration.nodePortAddresses={192.168.0.0/16,lan}"}, want: []string{"kubeProxyConfiguration/nodePortAddresses/1"}},
		"bad excluded CIDR":      {set: []string{"kubeProxyConfiguration.ipvs.excludeCIDRs={10.0.0.0/8,256.0.0.0/8}"}, want: []string{"kubeProxyConfiguration/ipvs/excludeCIDRs/1"}},
		"masquerade bit":         {set: []string{"kubeProxyConfiguration.iptables.masqueradeBit=99"}, want: []string{"kubeProxyConfiguration/iptables/masqueradeBit", "31"}},
		"negative bit":           {set: []string{"kubeProxyConfiguration.iptables.masqueradeBit=-1"}, want: []string{"kubeProxyConfiguration/iptables/masqueradeBit", "0"}},
		"duration without unit":  {set: []string{"kubeProxyConfiguration.ipvs.syncPeriod=30"}, want: []string{"kubeProxyConfiguration/ipvs/syncPeriod"}},
		"bad duration":           {set: []string{"kubeIPVSConfiguration.drainTimeout=soon"}, want: []string{"kubeIPVSConfiguration/drainTimeout"}},
		"place of servers":       {set: []string{"kubeIPVSConfiguration.clusterIPServers=images"}, want: []string{"kubeIPVSConfiguration/clusterIPServers", "'direct'"}},
		"iptables backend":       {set: []string{"kubeIPVSConfiguration.iptablesBackend=nftables"}, want: []string{"kubeIPVSConfiguration/iptablesBackend", "'nft'"}},
		"image prefix":           {set: []string{"kubeIPVSConfiguration.imagePrefixes.ipv4.cluster=240.0.0.0"}, want: []string{"kubeIPVSConfiguration/imagePrefixes/ipv4/cluster"}},
		"what the chart owns":    {set: []string{"kubeProxyConfiguration.hostnameOverride=node"}, want: []string{"kubeProxyConfiguration", "hostnameOverride"}},
		"another mode":           {set: []string{"kubeProxyConfiguration.mode=iptables"}, want: []string{"kubeProxyConfiguration/mode", "ipvs"}},
		"metrics elsewhere":      {set: []string{"kubeProxyConfiguration.metricsBindAddress=0.0.0.0:10249"}, want: []string{"kubeProxyConfiguration.metricsBindAddress", "set metrics.bindAddress and metrics.port"}},
		"addresses and auto":     {set: []string{"apiServers.auto=true"}, want: []string{"apiServers.addresses and apiServers.auto", "leave addresses empty"}},
		"no API server":          {set: []string{"apiServers.addresses=null"}, want: []string{"apiServers.addresses", "apiServers.auto=true"}},
		"auto without a cluster": {set: []string{"apiServers.addresses=null", "apiServers.auto=true"}, want: []string{"apiServers.auto", "kube-public/cluster-info", "apiServers.addresses"}},
		"scheme":                 {set: []string{"apiServers.addresses={tcp://10.0.0.1:6443}"}, want: []string{"apiServers/addresses/0"}},
		"API server with a path": {set: []string{"apiServers.addresses={10.0.0.1:6443,10.0.0.2:6443/api}"}, want: []string{"apiServers/addresses/1"}},
		"no image":               {set: []string{"image.repository="}, want: []string{"image.repository", "docs/install.md"}},
		"bad digest":             {set: []string{"image.digest=sha256:123"}, want: []string{"image/digest"}},
		"pull policy":            {set: []string{"image.pullPolicy=Sometimes"}, want: []string{"image/pullPolicy"}},
		"port":                   {set: []string{"metrics.port=70000"}, want: []string{"metrics/port", "65,535"}},
		"same port":              {set: []string{"metrics.port=10256"}, want: []string{"metrics.port", "healthz.port", "choose another"}},
		"bad address":            {set: []string{"healthz.bindAddress=localhost"}, want: []string{"healthz/bindAddress"}},
		"loopback and monitor":   {set: []string{"metrics.podMonitor.enabled=true"}, want: []string{"metrics.podMonitor.enabled", "metrics.bindAddress", "0.0.0.0"}},
		"both monitors":          {set: []string{"metrics.bindAddress=0.0.0.0", "metrics.podMonitor.enabled=true", "metrics.serviceMonitor.enabled=true"}, want: []string{"metrics.podMonitor.enabled and metrics.serviceMonitor.enabled", "choose one"}},
		"no CRD":                 {set: []string{"metrics.bindAddress=0.0.0.0", "metrics.serviceMonitor.enabled=true"}, want: []string{"metrics.serviceMonitor.enabled", "ServiceMonitor", "--api-versions"}},
		"bridge":                 {set: []string{"kubeProxyConfiguration.detectLocalMode=BridgeInterface"}, want: []string{"kubeProxyConfiguration.detectLocal.bridgeInterface", "name the bridge"}},
		"interface prefix":       {set: []string{"kubeProxyConfiguration.detectLocalMode=InterfaceNamePrefix"}, want: []string{"kubeProxyConfiguration.detectLocal.interfaceNamePrefix", "cali"}},
		"strategy":               {set: []string{"updateStrategy.type=Recreate"}, want: []string{"updateStrategy/type", "'OnDelete'"}},
		"unavailable":            {set: []string{"updateStrategy.rollingUpdate.maxUnavailable=0"}, want: []string{"updateStrategy/rollingUpdate/maxUnavailable"}},
		"label of the selector":  {set: []string{`podLabels.app\.kubernetes\.io/name=x`}, want: []string{"podLabels", "app.kubernetes.io/name"}},
		"an argument of its own": {set: []string{"extraArgs={--config=/x}"}, want: []string{"extraArgs", "--config=/x"}},
		"the same by kube-proxy": {set: []string{"extraArgs={--init_only=false}"}, want: []string{"extraArgs", "--init_only=false"}},
		"no account":             {set: []string{"serviceAccount.create=false"}, want: []string{"serviceAccount.name", "serviceAccount.create=true"}},
		"flag for a word":        {set: []string{"takeover=yes please"}, want: []string{"takeover", "boolean"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--values", "testdata/values/minimal.yaml"}
			for _, s := range c.set {
				args = append(args, "--set", s)
			}
			_, err := template(t, args...)
			if err == nil {
				t.Fatal("it is taken")
			}
			for _, word := range c.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
		})
	}
}
