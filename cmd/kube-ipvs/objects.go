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
	if len(e.Manifests) > 0 {
		return &objects{Source: source.Manifests(e.Manifests, log), name: "manifests"}, nil
	}
	klog.SetSlogLogger(log) // for client-go
	servers, err := source.LoadConfigs(source.ClientOptions{
		Kubeconfig: e.Client.Kubeconfig, Servers: e.APIServers, AcceptContentTypes: e.Client.AcceptContentTypes,
		ContentType: e.Client.ContentType, QPS: e.Client.QPS, Burst: e.Client.Burst, UserAgent: "kube-ipvs/" + version,
	})
	if err != nil {
		return nil, err
	}
	src, err := source.API(source.APIOptions{
		Configs: servers, NodeName: e.NodeName, ServiceProxyName: e.ServiceProxyName,
		Pods: e.TrafficMetrics == config.TrafficByEndpoint,
	})
	if err != nil {
		return nil, err
	}
	return &objects{Source: src, name: "API server " + servers[0].Host, servers: servers}, nil
}
