package monitoring

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// patience is how long a condition may take to come true. It is long because
// it only costs time when a test fails.
const patience = 90 * time.Second

// TestLive shows a real Prometheus two real daemons under traffic and trouble: one
// that follows manifests, one that follows an API server. Every query of the
// dashboards must return a number, and each fault must raise its alert.
func TestLive(t *testing.T) {
	if os.Getenv("KUBE_IPVS_LAB") == "" || os.Getenv("KUBE_IPVS_RULES") == "" {
		t.Skip("needs the lab, Prometheus and the rendered alerts: make test-monitoring")
	}
	bed, err := testbed.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bed.Close)
	c := newCluster(t, bed)
	exportNode(t, bed.Node, exporterAddress)
	p := startPrometheus(t, os.Getenv("KUBE_IPVS_RULES"), map[string]string{"node": "127.0.0.1:10249", "node2": bed.Node2.IPv4.String() + ":10249"})
	c.begin(t)
	p.await(t, `count(kube_ipvs_ready == 1) == 2`)
	p.await(t, `count(up == 1) == 3`)
	c.traffic(t)

	t.Run("alert", func(t *testing.T) { breakAndMend(t, c, p) })
	c.trouble(t)
	t.Run("metrics", func(t *testing.T) {
		for _, fact := range facts {
			p.await(t, fact)
		}
	})
	t.Run("rules", func(t *testing.T) { p.evaluates(t) })
	for name, d := range dashboards(t) {
		t.Run(name, func(t *testing.T) { p.shows(t, d) })
	}
}

// facts are the metrics that the daemon must have in this scene.
var facts = []string{
	`kube_ipvs_service_refused_packets_total{namespace="default", service="archive", port="http", reason="no_endpoints", instance="node"} > 0`,
	`kube_ipvs_service_refused_packets_total{namespace="default", service="archive", port="http", reason="no_endpoints", instance="node2"} > 0`,
	`kube_ipvs_service_refused_packets_total{service="far", port="tcp", reason="no_local_endpoints"} > 0`,
	`sum(kube_ipvs_refused_packets_total{reason="no_endpoints"}) >= sum(kube_ipvs_service_refused_packets_total{reason="no_endpoints"})`,
	`kube_ipvs_conntrack_entries{instance="node"} > 0 and kube_ipvs_conntrack_entries < kube_ipvs_conntrack_limit`,
	`sum by (instance) (kube_ipvs_ipset_entries{set="KIPVS-ALL"}) == sum by (instance) (kube_ipvs_ipset_entries{set=~"KIPVS-(CLUSTER|EXT|EXT-LOCAL)"})`,
	`kube_ipvs_ipset_limit{set="KIPVS6-VIPS"} == 1048576`,
	`kube_ipvs_oldest_drain_age_seconds{instance="node"} > 1 and kube_ipvs_draining_real_servers > 0`,
	`kube_ipvs_endpoint_standing{service="drained", standing="draining", instance="node"} == 1`,
	`kube_ipvs_endpoint_weight{service="drained", instance="node"} == 2 and kube_ipvs_endpoint_connections_limit == 100`,
	`kube_ipvs_followed_objects{kind="service", instance="node"} > 100`,
	`count(node_ipvs_backend_weight * on (local_address, local_port, proto) group_left (namespace, service, port) kube_ipvs_virtual_server_info{instance="node"}) > 100`,
	`kube_ipvs_object_problems{kind="Service", namespace="default", name="blocked-too", instance="node"} > 0`,
	`increase(kube_ipvs_drift_repaired_total{kind="entry", instance="node"}[1m]) > 0`,
}

// breakAndMend puts another program's virtual server at the address of a Service,
// and deletes it again.
func breakAndMend(t *testing.T, c *cluster, p *prometheus) {
	const alert = "KubeIPVSWritesBlocked"
	if got := p.alert(t, alert); got != "inactive" {
		t.Fatalf("%s is %s while all is well", alert, got)
	}
	blocked := testbed.Service{Name: "blocked", Number: 9, Protocols: []string{"TCP"}}
	at := blocked.ClusterIP().V4.String()
	c.shell(t, "ipvsadm -A -t "+at+" -s rr")
	c.put(t, "blocked.yaml", c.bed.With(blocked, testbed.Backends(c.bed.P1)))
	p.await(t, `ALERTS{alertname="`+alert+`", alertstate="firing", instance="node", cause="foreign", severity="warning"}`)
	summary := p.summary(t, alert)
	if !strings.Contains(summary, "in the way of") || !strings.HasSuffix(summary, "objects on node.") {
		t.Errorf("the alert reads %q", summary)
	}
	c.shell(t, "ipvsadm -D -t "+at)
	err := testbed.Await(t.Context(), patience, func() error {
		if got := p.alert(t, alert); got != "inactive" {
			return fmt.Errorf("%s is %s after the repair", alert, got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// begins does something again and again until the test ends.
func begins(t *testing.T, pause time.Duration, do func(ctx context.Context, n int)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				do(ctx, n)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}
