package metrics

import (
	"net/netip"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// node is a kernel that has counted something of everything.
type node struct {
	config  desired.Config
	server  state.ID
	refuses state.ID
}

func newNode() *node {
	n := &node{config: desired.Config{Mode: desired.Direct, Images: desired.DefaultImages}}
	at := netip.MustParseAddrPort("10.96.0.10:80")
	n.server, n.refuses = state.VirtualServerID(state.TCP, at), state.EntryID(state.SetReject, state.TCP, at)
	return n
}

func (n *node) ServerCounts() (map[state.ID]kernel.Counted, error) {
	return map[state.ID]kernel.Counted{n.server: {}}, nil
}

func (n *node) RealServerCounts(server state.ID) (map[state.ID]kernel.Counted, error) {
	return map[state.ID]kernel.Counted{state.RealServerID(server, netip.MustParseAddrPort("10.244.0.11:8080")): {}}, nil
}

func (n *node) Served(state.ID) (report.ServedPort, bool) {
	return report.ServedPort{Key: model.Key{Namespace: "shop", Name: "web"}, Port: "http", Whole: true}, true
}

func (n *node) PodOf(model.Key, netip.Addr) string { return "" }

func (n *node) Conntrack() (kernel.Fill, error) { return kernel.Fill{}, nil }

func (n *node) Sets() (map[state.ID]kernel.Fill, error) {
	return map[state.ID]kernel.Fill{state.SetID(state.SetAll, state.IPv4): {}}, nil
}

func (n *node) Refused(each func(state.ID, uint64)) error {
	each(n.refuses, 1)
	return nil
}
