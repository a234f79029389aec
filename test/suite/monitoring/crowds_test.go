package monitoring

import "fmt"

const threeNodes = "... Nodes: n001, n002, n003 and others."

// crowds are stories of clusters of 300 nodes, which must not ring 300 times.
var crowds = []story{
	{what: "no node reaches the API server", unscraped: true, series: append(each(300, "up%s 1x60", ""), each(300, "kube_ipvs_source_problems%s 0x3 1x60", "")...), before: "18m", after: "19m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs nodes=many", "kube-ipvs on 300 nodes cannot read what to serve.", threeNodes}}},
	{what: "five nodes of 300 do not answer", unscraped: true, series: append(each(5, "up%s 0x60", ""), from(6, 300, "up%s 1x60", "")...), before: "4m", after: "5m",
		fires: []firing{down("n001"), down("n002"), down("n003"), down("n004"), down("n005")}},
	{what: "six nodes of 300 do not answer", unscraped: true, series: append(each(6, "up%s 0x60", ""), from(7, 300, "up%s 1x60", "")...), before: "4m", after: "5m",
		fires: []firing{{"KubeIPVSDown", "job=kube-ipvs nodes=several", "kube-ipvs does not answer Prometheus on 6 nodes.", threeNodes}}},
	{what: "six nodes of 300 do not answer, then do once", unscraped: true, series: append(each(6, "up%s 0x3 1 0x60", ""), from(7, 300, "up%s 1x60", "")...), before: "9m", after: "10m",
		fires: []firing{{"KubeIPVSDown", "job=kube-ipvs nodes=several", "kube-ipvs does not answer Prometheus on 6 nodes.", threeNodes}}},
	{what: "six nodes of 300 are not ready, and a sample is missing", unscraped: true, series: append(each(300, "up%s 1x60", ""), each(6, "kube_ipvs_ready%s 0x2 _ 0x60", "")...), before: "4m", after: "5m",
		fires: []firing{{"KubeIPVSNotReady", "job=kube-ipvs nodes=several", "kube-ipvs has not programmed all Services of the time of its start on 6 nodes.", threeNodes}}},
	{what: "an outage of six nodes of 300 has shrunk to five", unscraped: true, series: append(append(each(5, "up%s 0x60", ""), from(6, 6, "up%s 0x9 1x60", "")...), from(7, 300, "up%s 1x60", "")...), before: "14m", after: "15m",
		fires: []firing{down("n001"), down("n002"), down("n003"), down("n004"), down("n005")}},
	// It does not pause while it grows.
	{what: "an outage of two nodes of 300 has grown to 100", unscraped: true, series: append(append(each(2, "up%s 1x6 0x60", ""), from(3, 100, "up%s 1x12 0x60", "")...), from(101, 300, "up%s 1x60", "")...), before: "11m", after: "18m",
		fires: []firing{{"KubeIPVSDown", "job=kube-ipvs nodes=many", "kube-ipvs does not answer Prometheus on 100 nodes.", threeNodes}}},
	{what: "an outage of two nodes of 300 grows to 100", unscraped: true, series: append(append(each(2, "up%s 1x6 0x60", ""), from(3, 100, "up%s 1x12 0x60", "")...), from(101, 300, "up%s 1x60", "")...), before: "11m", after: "16m",
		fires: []firing{down("n001"), down("n002")}},
	// 30 nodes are away at any time, none for more than three minutes.
	{what: "an upgrade goes through 300 nodes", unscraped: true, series: rollout(300, 30), before: "12m", after: "25m"},
	{what: "a Service that no node of 300 can serve", unscraped: true, series: append(each(300, "up%s 1x60", ""),
		each(300, "kube_ipvs_object_problems%s 1x60", `, kind="Service", namespace="shop", name="web", field="spec.externalIPs[]"`)...), before: "14m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs kind=Service namespace=shop name=web field=spec.externalIPs[]",
			"Service shop/web cannot be served as it is, for its spec.externalIPs[] (nodes: 300).", threeNodes}}},
	{what: "300 Nodes without podCIDRs", unscraped: true, series: append(each(300, "up%s 1x60", ""), each(300, "kube_ipvs_object_problems%s 1x60", `, kind="Node", name="n", field="spec.podCIDRs"`)...), before: "13m", after: "15m",
		fires: []firing{{"KubeIPVSProblems", "job=kube-ipvs kind=Node field=spec.podCIDRs nodes=many", "300 Nodes cannot be served as they are, for their spec.podCIDRs.", threeNodes}}},
	// Another cause at one node rings beside it.
	{what: "another program is in the way of 50 nodes of 300, and writes wait on one", unscraped: true, series: append(append(each(300, "up%s 1x60", ""),
		each(50, "kube_ipvs_failing_writes%s 2x60", `, cause="foreign"`)...), from(300, 300, "kube_ipvs_failing_writes%s 1x60", `, cause="blocked"`)...), before: "13m", after: "15m",
		fires: []firing{{"KubeIPVSWritesBlocked", "job=kube-ipvs cause=foreign nodes=several", "Other programs are in the way of objects on 50 nodes.", threeNodes},
			{"KubeIPVSWritesBlocked", "job=kube-ipvs cause=blocked instance=n300", "1 objects on n300 wait for others, and none of those fails.", ""}}},
	{what: "drift on 80 nodes of 300", unscraped: true, series: append(each(300, "up%s 1x60", ""), each(80, "kube_ipvs_drift_repaired_total%s 0x10 7x60", `, kind="virtual_server"`)...), before: "10m", after: "11m",
		fires: []firing{{"KubeIPVSDriftRepaired", "job=kube-ipvs nodes=many", "Another program changes objects of kube-ipvs on 80 nodes.", threeNodes}}},
	{what: "a set of one node of 300 fills up", unscraped: true, series: append(append(append(each(300, "up%s 1x60", ""), each(299, "kube_ipvs_ipset_entries%s 100x60", `, set="KIPVS-HAIRPIN"`)...),
		from(300, 300, "kube_ipvs_ipset_entries%s 900x60", `, set="KIPVS-HAIRPIN"`)...), each(300, "kube_ipvs_ipset_limit%s 1000x60", `, set="KIPVS-HAIRPIN"`)...), before: "4m", after: "5m",
		fires: []firing{{"KubeIPVSSetFull", "job=kube-ipvs set=KIPVS-HAIRPIN", "The ipset KIPVS-HAIRPIN is 90% full.", "... Nodes: n300."}}},
	{what: "a set of 300 nodes fills up", unscraped: true, series: append(append(each(300, "up%s 1x60", ""),
		each(300, "kube_ipvs_ipset_entries%s 900x60", `, set="KIPVS-ALL"`)...), each(300, "kube_ipvs_ipset_limit%s 1000x60", `, set="KIPVS-ALL"`)...), before: "4m", after: "5m",
		fires: []firing{{"KubeIPVSSetFull", "job=kube-ipvs set=KIPVS-ALL", "The ipset KIPVS-ALL is 90% full.", threeNodes}}},
	{what: "one Prometheus of two clusters, of which one is down and one has a node that is", unscraped: true, series: append(append(each(300, "up%s 0x60", `, cluster="a"`),
		from(1, 299, "up%s 1x60", `, cluster="b"`)...), from(300, 300, "up%s 0x60", `, cluster="b"`)...), before: "3m", after: "5m",
		fires: []firing{{"KubeIPVSDown", "job=kube-ipvs cluster=a nodes=many", "kube-ipvs does not answer Prometheus on 300 nodes.", threeNodes},
			{"KubeIPVSDown", "job=kube-ipvs cluster=b instance=n300", "kube-ipvs on n300 does not answer Prometheus.", ""}}},
	{what: "two clusters of different sizes", unscraped: true, series: append(append(each(300, "up%s 1x60", `, cluster="a"`),
		each(150, `kube_ipvs_followed_objects%s 100x60`, `, cluster="a", kind="service"`)...), each(140, `kube_ipvs_followed_objects%s 90x60`, `, cluster="b", kind="service"`)...), before: "5m", after: "40m"},
}

func down(node string) firing {
	return firing{"KubeIPVSDown", "job=kube-ipvs instance=" + node, "kube-ipvs on " + node + " does not answer Prometheus.", ""}
}

// each returns a series of each of n nodes; format has %s in the place of the labels.
func each(n int, format, labels string) []string { return from(1, n, format, labels) }

// from returns the series of the nodes first to last.
func from(first, last int, format, labels string) (all []string) {
	for i := first; i <= last; i++ {
		all = append(all, fmt.Sprintf(format, fmt.Sprintf(`{job="kube-ipvs", instance="n%03d"%s}`, i, labels)))
	}
	return all
}

// rollout returns n nodes, of which some at a time do not answer for three minutes.
func rollout(n, some int) (all []string) {
	for i := range n {
		all = append(all, from(i+1, i+1, fmt.Sprintf("up%%s 1x%d 0x2 1x60", 3*(i/some)+1), "")...)
	}
	return all
}
