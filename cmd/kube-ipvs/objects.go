package main

import (
	"log/slog"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/source"
)

// objects is the source of Services.
type objects struct {
	source.Source
	name    string         // for the log
	servers []*rest.Config // API servers; nil with manifests
}

// openObjects returns the manifests, or the API server if there are none.
func openObjects(e *config.Config, log *slog.Logger) (*objects, error) {
	if len(e.Own.Manifests) > 0 {
		return &objects{Source: source.Manifests(e.Own.Manifests, log), name: "manifests"}, nil
	}
	klog.SetSlogLogger(log) // for client-go
	c := e.Proxy.ClientConnection
	servers, err := source.LoadConfigs(source.ClientOptions{
		Kubeconfig: c.Kubeconfig, Servers: e.Own.APIServers, AcceptContentTypes: c.AcceptContentTypes,
		ContentType: c.ContentType, QPS: c.QPS, Burst: int(c.Burst), UserAgent: "kube-ipvs/" + version,
	})
	if err != nil {
		return nil, err
	}
	src, err := source.API(source.APIOptions{
		Configs: servers, NodeName: e.NodeName, ServiceProxyName: e.Own.ServiceProxyName,
		Pods: e.Own.TrafficMetrics == config.TrafficByEndpoint,
	})
	if err != nil {
		return nil, err
	}
	return &objects{Source: src, name: "API server " + servers[0].Host, servers: servers}, nil
}
