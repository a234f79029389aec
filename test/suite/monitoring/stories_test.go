package monitoring

// story is the series that Prometheus sees, and the alerts that it must raise. Samples
// come each minute, in promtool's notation.
type story struct {
	what          string
	series        []string
	before, after string   // times at which no alert fires, and at which these do
	fires         []firing // empty: the series fire no alert
	unscraped     bool     // Prometheus scrapes no node; else n1 is up
}

type firing struct {
	name, labels, summary string
	description           string // "": as it is written, since it tells no figures; "... text": that, and text
}

const (
	n1 = `{job="kube-ipvs", instance="n1"} `
	n2 = `{job="kube-ipvs", instance="n2"} `
)

var stories = []story{
	{what: "one node of two does not answer", series: []string{`up{job="kube-ipvs", instance="n2"} 1x10 0x20`}, before: "15m", after: "16m",
		fires: []firing{{"KubeIPVSDown", "job=kube-ipvs instance=n2", "kube-ipvs on n2 does not answer Prometheus.", ""}}},
	{what: "no node is known", unscraped: true, series: []string{`up{job="kube-ipvs", instance="n1"} 1x10 stale`, `up{job="other", instance="n1"} 1x60`}, before: "15m", after: "16m",
		fires: []firing{{"KubeIPVSDown", "job=kube-ipvs", "kube-ipvs does not answer Prometheus.", ""}}},
	{what: "a scrape fails now and then", series: []string{`up{job="kube-ipvs", instance="n2"} 1x5 0x2 1x3 0x3 1x20`}, before: "8m", after: "15m"},
	{what: "another program is down", series: []string{`up{job="other", instance="n2"} 0x20`}, before: "1m", after: "15m"},
	{what: "not ready", series: []string{"kube_ipvs_ready" + n1 + "0x20", "kube_ipvs_ready" + n2 + "0x4 1x20"}, before: "4m", after: "5m",
		fires: []firing{{"KubeIPVSNotReady", "job=kube-ipvs instance=n1", "kube-ipvs on n1 has not programmed all Services of the time of its start.", ""}}},
	{what: "unhealthy", series: []string{"kube_ipvs_healthy" + n1 + "1x4 0x20", "kube_ipvs_healthy" + n2 + "0x1 1x20"}, before: "6m", after: "7m",
		fires: []firing{{"KubeIPVSUnhealthy", "job=kube-ipvs instance=n1", "kube-ipvs on n1 does not keep up.", ""}}},
	{what: "the kernel does not take writes", series: []string{`kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="node"} 0x5 3x20`, `kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="foreign"} 0x50`},
		before: "10m", after: "11m",
		fires: []firing{{"KubeIPVSWritesFail", "job=kube-ipvs instance=n1 cause=node", "The kernel of n1 does not take 3 objects.", ""}}},
	{what: "writes fail and succeed again", series: []string{`kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="node"} 0x5 3x3 0x2 1x4 0x20`}, before: "9m", after: "16m"},
	{what: "another program is in the way", series: []string{`kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="foreign"} 2x30`, `kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="blocked"} 5x30`},
		before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSWritesBlocked", "job=kube-ipvs instance=n1 cause=foreign", "Other programs are in the way of 2 objects on n1.", ""}}},
	{what: "the kernel does not take an object, on any node", series: []string{
		`kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="object"} 2x30`, `kube_ipvs_failing_writes{job="kube-ipvs", instance="n2", cause="object"} 3x30`,
		`kube_ipvs_failing_writes{job="kube-ipvs", instance="n2", cause="blocked"} 1x30`}, before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSWritesBlocked", "job=kube-ipvs cause=object", "The kernel does not take 3 objects with the values that Services or endpoints have.", ""}}},
	{what: "writes wait for nothing that fails", series: []string{`kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="blocked"} 4x30`, `kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="node"} 0x30`},
		before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSWritesBlocked", "job=kube-ipvs instance=n1 cause=blocked", "4 objects on n1 wait for others, and none of those fails.", ""}}},
	{what: "writes wait for one that fails by the node's fault", series: []string{`kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="blocked"} 4x30`, `kube_ipvs_failing_writes{job="kube-ipvs", instance="n1", cause="node"} 1x30`},
		before: "4m", after: "20m",
		fires: []firing{{"KubeIPVSWritesFail", "job=kube-ipvs instance=n1 cause=node", "The kernel of n1 does not take 1 objects.", ""}}},
	{what: "2 % of the changes take more than 5 s", series: []string{
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n1", le="5.0"} 0+98x60`,
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n1", le="10.0"} 0+100x60`,
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n1", le="+Inf"} 0+100x60`}, before: "10m", after: "11m",
		fires: []firing{{"KubeIPVSProgrammingSlow", "job=kube-ipvs instance=n1", "On n1 1 % of changes take longer than 7.5s until they are programmed.", ""}}},
	{what: "half a percent of the changes takes more than 5 s, or there are none", series: []string{
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n1", le="5.0"} 0+199x60`,
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n1", le="10.0"} 0+200x60`,
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n1", le="+Inf"} 0+200x60`,
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n2", le="5.0"} 7x60`,
		`kube_ipvs_programming_duration_seconds_bucket{job="kube-ipvs", instance="n2", le="+Inf"} 10x60`}, before: "11m", after: "40m"},
	{what: "drift", series: []string{`kube_ipvs_drift_repaired_total{job="kube-ipvs", instance="n1", kind="entry"} 0x10 1x200`, `kube_ipvs_drift_repaired_total{job="kube-ipvs", instance="n2", kind="entry"} 5x200`},
		before: "10m", after: "12m",
		fires: []firing{{"KubeIPVSDriftRepaired", "job=kube-ipvs instance=n1", "Another program has changed or deleted about 1 objects of kube-ipvs on n1.", ""}}},
	{what: "drift is long ago", series: []string{`kube_ipvs_drift_repaired_total{job="kube-ipvs", instance="n1", kind="entry"} 0x10 1x200`}, before: "9m", after: "80m"},
	{what: "no audit", series: []string{"kube_ipvs_last_audit_age_seconds" + n1 + "0+60x60", "kube_ipvs_last_audit_age_seconds" + n2 + "0+60x15 0+60x15 0+60x15"}, before: "20m", after: "21m",
		fires: []firing{{"KubeIPVSAuditOverdue", "job=kube-ipvs instance=n1", "Nothing has been compared with the kernel of n1 for 21m 0s.", ""}}},
	{what: "clients ask a Service without endpoints", series: []string{
		`kube_ipvs_service_refused_packets_total{job="kube-ipvs", instance="n1", namespace="shop", service="cart", port="http", reason="no_endpoints"} 0+60x60`,
		`kube_ipvs_service_refused_packets_total{job="kube-ipvs", instance="n2", namespace="shop", service="cart", port="http", reason="no_endpoints"} 0+60x60`,
		`kube_ipvs_service_refused_packets_total{job="kube-ipvs", instance="n2", namespace="shop", service="rare", port="http", reason="no_endpoints"} 0+6x60`,
		`kube_ipvs_refused_packets_total{job="kube-ipvs", instance="n1", reason="no_endpoints"} 0+120x60`}, before: "17m", after: "18m",
		fires: []firing{{"KubeIPVSRefusedTraffic", "job=kube-ipvs namespace=shop service=cart port=http", "Clients ask for shop/cart, which has no endpoint for them.",
			"About 2 packets a second are refused, or dropped by a policy Local with endpoints on other nodes only."}}},
	{what: "clients ask in vain, without traffic metrics", series: []string{`kube_ipvs_refused_packets_total{job="kube-ipvs", instance="n1", reason="no_endpoints"} 0+150x60`}, before: "17m", after: "18m",
		fires: []firing{{"KubeIPVSRefusedTraffic", "job=kube-ipvs", "Clients ask for Services that have no endpoint for them.",
			"About 2.5 packets a second are refused, or dropped by a policy Local with endpoints on other nodes only."}}},
	{what: "a Service is empty for the time of its roll-out", series: []string{`kube_ipvs_refused_packets_total{job="kube-ipvs", instance="n1", reason="no_endpoints"} 0+600x6 3600x60`}, before: "7m", after: "20m"},
	{what: "a Service that cannot be served, as two nodes say", series: []string{
		`kube_ipvs_object_problems{job="kube-ipvs", instance="n1", kind="Service", namespace="shop", name="web", field="spec.externalIPs[]"} 200x30`,
		`kube_ipvs_object_problems{job="kube-ipvs", instance="n2", kind="Service", namespace="shop", name="web", field="spec.externalIPs[]"} 200x30`}, before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs kind=Service namespace=shop name=web field=spec.externalIPs[]", "Service shop/web cannot be served as it is, for its spec.externalIPs[] (nodes: 2).", "... Nodes: n1, n2."}}},
	{what: "a Service that cannot be served, first as one node says, then as another", series: []string{
		`kube_ipvs_object_problems{job="kube-ipvs", instance="n1", kind="Service", namespace="shop", name="web"} 1x9 stale`,
		`kube_ipvs_object_problems{job="kube-ipvs", instance="n2", kind="Service", namespace="shop", name="web"} _x8 1x30`}, before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs kind=Service namespace=shop name=web", "Service shop/web cannot be served as it is (nodes: 1).", "... Nodes: n2."}}},
	{what: "a Node that lacks something", series: []string{`kube_ipvs_object_problems{job="kube-ipvs", instance="n1", kind="Node", name="n1", field="spec.podCIDRs"} 1x30`}, before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs instance=n1 kind=Node name=n1 field=spec.podCIDRs", "Node n1 cannot be served as it is, for its spec.podCIDRs.", ""}}},
	{what: "more objects than have a series", series: []string{"kube_ipvs_object_problems_omitted" + n1 + "7x30", "kube_ipvs_object_problems_omitted" + n2 + "7x30"}, before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs", "7 more objects cannot be served as they are.", ""}}},
	{what: "a node does not reach the API server", series: []string{"kube_ipvs_source_problems" + n1 + "2x30", "kube_ipvs_source_problems" + n2 + "0x30"}, before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs instance=n1", "kube-ipvs on n1 cannot read what to serve.", ""}}},
	{what: "conntrack fills up", series: []string{"kube_ipvs_conntrack_entries" + n1 + "790x10 900x20", "kube_ipvs_conntrack_limit" + n1 + "1000x40",
		"kube_ipvs_conntrack_entries" + n2 + "900x30", "kube_ipvs_conntrack_limit" + n2 + "0x40"}, before: "15m", after: "16m",
		fires: []firing{{"KubeIPVSConntrackFull", "job=kube-ipvs instance=n1", "The connection table of n1 is 90% full.", ""}}},
	{what: "a set fills up", series: []string{`kube_ipvs_ipset_entries{job="kube-ipvs", instance="n1", set="KIPVS-ALL"} 0+100000x9 900000x20`, `kube_ipvs_ipset_limit{job="kube-ipvs", instance="n1", set="KIPVS-ALL"} 1000000x40`,
		`kube_ipvs_ipset_entries{job="kube-ipvs", instance="n1", set="KIPVS-EXT"} 800000x40`, `kube_ipvs_ipset_limit{job="kube-ipvs", instance="n1", set="KIPVS-EXT"} 1000000x40`}, before: "13m", after: "14m",
		fires: []firing{{"KubeIPVSSetFull", "job=kube-ipvs set=KIPVS-ALL", "The ipset KIPVS-ALL is 90% full.", "... Nodes: n1."}}},
	{what: "a drain that does not end", series: []string{"kube_ipvs_oldest_drain_age_seconds" + n1 + "0+60x60", "kube_ipvs_oldest_drain_age_seconds" + n2 + "0+60x15 0+60x15 0+60x15"}, before: "25m", after: "26m",
		fires: []firing{{"KubeIPVSDrainStuck", "job=kube-ipvs instance=n1", "A removed endpoint has been draining on n1 for 26m 0s.", ""}}},
	{what: "a node does not see a new Service", series: known("100x20 101x60", "100x21 101x60", "100x80"), before: "35m", after: "37m",
		fires: []firing{{"KubeIPVSNodesDisagree", "job=kube-ipvs instance=n3 kind=service", "n3 has 100 services, and other nodes have another number.", ""}}},
	{what: "a node keeps what is gone", series: known("100x20 90x60", "100x21 90x60", "100x80"), before: "35m", after: "37m",
		fires: []firing{{"KubeIPVSNodesDisagree", "job=kube-ipvs instance=n3 kind=service", "n3 has 100 services, and other nodes have another number.", ""}}},
	{what: "Services come and go, and a node begins later", series: known("100 101 102 101x3 100 99 100 101 102 100 101 102 101x3 100 99 100 101 102", "100x2 101 102 101x3 100 99 100 101 102 100 101 102 101x3 100 99 100 101 102", "_x10 0 101 102 101x3 100 99 100 101 102"), before: "12m", after: "20m"},
	{what: "virtual servers that only one node has", series: []string{
		`kube_ipvs_objects{job="kube-ipvs", instance="n1", kind="virtual_server"} 10x60`, `kube_ipvs_objects{job="kube-ipvs", instance="n2", kind="virtual_server"} 10x60`,
		`kube_ipvs_objects{job="kube-ipvs", instance="n3", kind="virtual_server"} 12x60`,
		`kube_ipvs_objects{job="kube-ipvs", instance="n1", kind="entry"} 10x60`, `kube_ipvs_objects{job="kube-ipvs", instance="n2", kind="entry"} 20x60`}, before: "4m", after: "15m",
		fires: []firing{{"KubeIPVSNodesDisagree", "job=kube-ipvs instance=n3 kind=virtual_server", "n3 has 12 virtual_servers, and other nodes have another number.", ""}}},
}

// known are how many Services three nodes follow.
func known(first, second, third string) []string {
	of := func(node, values string) string {
		return `kube_ipvs_followed_objects{job="kube-ipvs", instance="` + node + `", kind="service"} ` + values
	}
	return []string{of("n1", first), of("n2", second), of("n3", third)}
}
