package traffic

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"kube-ipvs/proxier/state"
)

// serverInfo exports the Service port of each virtual server. Its labels of the virtual
// server are those of node_exporter's node_ipvs_*, which do not know the Service. Only
// Service ports with series of their own have series, and at most limit: a Service with
// many frontends has as many virtual servers.
type serverInfo struct {
	desc  *prometheus.Desc
	limit int
	of    map[state.ID]*series // the Service port by virtual server, of the last reading
	made  map[state.ID]*sample // the samples of the last scrape
}

func newServerInfo(limit int) *serverInfo {
	return &serverInfo{
		desc: prometheus.NewDesc("kube_ipvs_virtual_server_info", "Always 1; the labels give a virtual server of IPVS, as node_exporter's node_ipvs_* do, and its Service port.",
			[]string{"local_address", "local_port", "namespace", "port", "proto", "service"}, nil),
		limit: limit, of: map[state.ID]*series{},
	}
}

// note stores the owner of a virtual server, or of the virtual server of a real server.
func (s *serverInfo) note(id state.ID, owner *series) {
	if id.Kind == state.RealServer {
		id = id.Server()
	}
	if id.Kind == state.VirtualServer {
		s.of[id] = owner
	}
}

func (s *serverInfo) collect(ch chan<- prometheus.Metric) {
	var ids []state.ID
	for id, owner := range s.of {
		if owner.own && owner.key.service != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) > s.limit {
		slices.SortFunc(ids, state.ID.Compare)
		ids = ids[:s.limit]
	}
	made := make(map[state.ID]*sample, len(ids))
	for _, id := range ids {
		m, owner := s.made[id], s.of[id].key
		if m == nil || m.labels[2].GetValue() != owner.namespace || m.labels[3].GetValue() != owner.port || m.labels[5].GetValue() != owner.service {
			m = &sample{s.desc, []*dto.LabelPair{
				pair("local_address", id.Addr().String()), pair("local_port", strconv.Itoa(int(id.Port))), pair("namespace", owner.namespace),
				pair("port", owner.port), pair("proto", strings.ToUpper(id.Proto.String())), pair("service", owner.service),
			}, 1, true}
		}
		made[id] = m
		ch <- m
	}
	s.made, s.of = made, make(map[state.ID]*series, len(s.of))
}
