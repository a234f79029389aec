package explain

import (
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/model"
)

// Services web and api, which have an endpoint in common, and dns, whose name is in two namespaces.
const findManifest = `apiVersion: v1
kind: Service
metadata: {namespace: default, name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  clusterIPs: [10.96.0.10, "fd96::10"]
  ports: [{name: http, port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: api}
spec:
  clusterIP: 10.96.0.11
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: dns-tcp}
spec:
  clusterIP: 10.96.0.53
  externalIPs: [203.0.113.53]
  ports: [{port: 53}]
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: dns}
spec:
  clusterIP: 10.96.0.54
  externalIPs: [203.0.113.53]
  ports: [{port: 53, protocol: UDP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: ["10.244.0.11"], nodeName: n1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: ["fd44::11"], nodeName: n1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: api-1, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: ["10.244.0.11"], nodeName: n1}
`

func findNode(t *testing.T) *Node {
	m := model.New(model.Node{Name: "n1"})
	load(t, m, findManifest)
	n := newNode(config(desired.Image), m)
	n.compare(t)
	return n
}

// found spells the Services and frontends that a query finds, and what is asked for.
func found(t *testing.T, n *Node, text string) string {
	t.Helper()
	q, err := ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	all, err := n.Explain(q, netip.Addr{})
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	for _, e := range all {
		line := e.Service + ":"
		for _, f := range e.Frontends {
			line += " " + f.Address
			if f.Kind == "node port" && f.Family == 6 {
				line += "(6)"
			}
			for _, w := range f.Ways {
				if w.Outcome == Unroutable || strings.Contains(w.To, "252.0.0") || strings.HasPrefix(w.To, "24") {
					line += " dialled at " + w.To
				}
			}
		}
		if e.Asked != "" {
			line += "; " + e.Asked
		}
		out = append(out, line)
	}
	return strings.Join(out, " | ")
}

// Each address that an operator may see leads to its Services.
func TestFind(t *testing.T) {
	n := findNode(t)
	for text, want := range map[string]string{
		// What clients dial.
		"10.96.0.10:80":       "default/web: 10.96.0.10:80",
		"10.96.0.10":          "default/web: 10.96.0.10:80",
		"[fd96::10]:80/tcp":   "default/web: [fd96::10]:80",
		"fd96::10":            "default/web: [fd96::10]:80",
		"203.0.113.7":         "default/web: 203.0.113.7:80",
		":30080":              "default/web: *:30080 *:30080(6)",
		"192.168.50.1:30080":  "default/web: *:30080",
		"[fd50::1]:30080":     "default/web: *:30080(6)",
		"203.0.113.53:53":     "default/dns-tcp: 203.0.113.53:53 | shop/dns: 203.0.113.53:53",
		"203.0.113.53:53/udp": "shop/dns: 203.0.113.53:53",
		// What ipvsadm shows.
		"242.96.0.10:80":     "default/web: 10.96.0.10:80; 242.96.0.10:80 is a mapped address, which clients do not dial: it stands for ClusterIP 10.96.0.10:80/tcp",
		"242.96.0.10":        "default/web: 10.96.0.10:80; 242.96.0.10 is a mapped address, which clients do not dial: it stands for ClusterIP 10.96.0.10:80/tcp",
		"[5d96::10]:80":      "default/web: [fd96::10]:80; [5d96::10]:80 is a mapped address, which clients do not dial: it stands for ClusterIP [fd96::10]:80/tcp",
		"251.0.113.7:80/tcp": "default/web: 203.0.113.7:80; 251.0.113.7:80/tcp is a mapped address, which clients do not dial: it stands for load-balancer IP 203.0.113.7:80/tcp",
		"252.0.0.2:30080":    "default/web: *:30080; 252.0.0.2:30080 is a mapped address, which clients do not dial: it stands for node port 30080/tcp",
		// Endpoints.
		"10.244.0.11:8080": "default/api: 10.96.0.11:80; 10.244.0.11:8080 is an endpoint of the Service | default/web: 10.96.0.10:80 203.0.113.7:80 *:30080; 10.244.0.11:8080 is an endpoint of the Service",
		"fd44::11":         "default/web: [fd96::10]:80 *:30080(6); fd44::11 is an endpoint of the Service",
	} {
		if got := found(t, n, text); got != want {
			t.Errorf("%s: %s\nwant %s", text, got, want)
		}
	}
}

// An address that no Service has is an error that names what is near.
func TestFindNothing(t *testing.T) {
	n := findNode(t)
	for text, want := range map[string]string{
		"10.96.0.10:81":      "no Service has 10.96.0.10:81; Service default/web has 10.96.0.10 with http (80/tcp, node port 30080)",
		"10.96.0.10/udp":     "no Service has 10.96.0.10/udp; Service default/web has 10.96.0.10 with http (80/tcp, node port 30080)",
		"10.1.2.3:30080":     "no Service has 10.1.2.3:30080; Service default/web has node port 30080/tcp at other addresses: ask for :30080",
		":30080/udp":         "no Service has :30080/udp; Service default/web has node port 30080/tcp",
		":30081":             "no Service has :30081",
		"192.168.50.1:30081": "no Service has 192.168.50.1:30081: the address is this node's, and no Service has that node port there",
		"192.168.50.1":       "no Service has 192.168.50.1: the address is this node's; with a node port it may be one, such as 192.168.50.1:30080",
		"252.0.0.1":          "252.0.0.1 is a mapped address, which clients do not dial: no virtual server of a Service stands there",
		"242.96.0.10:80/udp": "242.96.0.10:80/udp is a mapped address, which clients do not dial: no virtual server of a Service stands there",
		"fd44::11/udp":       "no Service has fd44::11/udp; fd44::11 is an endpoint of Service default/web with another port or protocol",
		"10.9.9.9":           "no Service has 10.9.9.9",
		"default/wep":        "kube-ipvs serves no Service default/wep: it does not exist, or is headless, an ExternalName or another proxy's (is default/web meant?)",
		"web/dns":            "kube-ipvs serves no Service web/dns: it does not exist, or is headless, an ExternalName or another proxy's (is shop/dns meant?)",
		"default/elsewhere":  "kube-ipvs serves no Service default/elsewhere: it does not exist, or is headless, an ExternalName or another proxy's",
	} {
		if got := found(t, n, text); got != "error: "+want {
			t.Errorf("%s: %s\nwant error: %s", text, got, want)
		}
	}
}
