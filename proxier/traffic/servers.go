package traffic

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"kube-ipvs/proxier/state"
)

// serverInfo tells for which Service port each virtual server is, with labels as
// node_exporter's node_ipvs_* have them, which know none. Its series are of the Service
// ports with series of their own, and are no more than the limit: a Service of many
// frontends has as many virtual servers.
type serverInfo struct {
	desc  *prometheus.Desc
	limit int
	of    map[state.ID]*series // of the last reading
	made  map[state.ID]*sample // that the last scrape has told
}

func newServerInfo(limit int) *serverInfo {
	return &serverInfo{
		desc: prometheus.NewDesc("kube_ipvs_virtual_server_info", "Always 1; the labels say for which Service port a virtual server of IPVS is, as node_exporter's node_ipvs_* name it.",
			[]string{"local_address", "local_port", "namespace", "port", "proto", "service"}, nil),
		limit: limit, of: map[state.ID]*series{},
	}
}

// note takes in whose a virtual server, or that of a real server, is.
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
