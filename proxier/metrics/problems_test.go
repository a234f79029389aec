package metrics

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"kube-ipvs/proxier/model"
)

func TestProblemsCollector(t *testing.T) {
	var rounds, ports []model.Problem
	c := NewProblems(func() [][]model.Problem { return [][]model.Problem{rounds, ports} })
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	for i := range 200 {
		rounds = append(rounds, model.Problem{UID: "1", Object: "Service shop/web", Field: fmt.Sprintf("spec.externalIPs[%d]", i), Message: "no"})
	}
	rounds = append(rounds,
		model.Problem{UID: "2", Object: "Service shop/web", Field: "spec.externalIPs[0]", Message: "of the one before"},
		model.Problem{Object: "Node n1", Field: "spec.podCIDRs", Message: "none"},
		model.Problem{Origin: "/etc/x.yaml", Message: "cannot be read"})
	ports = []model.Problem{{UID: "1", Object: "Service shop/web", Field: "spec.healthCheckNodePort", Message: "taken"}}
	want := `# HELP kube_ipvs_object_problems Faults of a Service, EndpointSlice or other source object, by field without the indexes of lists. At most 100 objects and fields have series, from all namespaces in turn.
# TYPE kube_ipvs_object_problems gauge
kube_ipvs_object_problems{field="spec.externalIPs[]",kind="Service",name="web",namespace="shop"} 201
kube_ipvs_object_problems{field="spec.healthCheckNodePort",kind="Service",name="web",namespace="shop"} 1
kube_ipvs_object_problems{field="spec.podCIDRs",kind="Node",name="n1",namespace=""} 1
# HELP kube_ipvs_object_problems_omitted Objects and fields that have faults and no series of their own.
# TYPE kube_ipvs_object_problems_omitted gauge
kube_ipvs_object_problems_omitted 0
# HELP kube_ipvs_source_problems Faults of the source that keep objects from being read: the API server, or a file or folder of manifests.
# TYPE kube_ipvs_source_problems gauge
kube_ipvs_source_problems 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	// However many there are, series are bounded.
	for i := range 5000 {
		ports = append(ports, model.Problem{Object: fmt.Sprintf("Service shop/s%d", i), Message: "no"})
	}
	ports = append(ports, model.Problem{Object: "Service zoo/last", Message: "no"})
	if n := testutil.CollectAndCount(c, "kube_ipvs_object_problems"); n != mostTroubled {
		t.Errorf("%d series", n)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`# HELP kube_ipvs_object_problems_omitted Objects and fields that have faults and no series of their own.
# TYPE kube_ipvs_object_problems_omitted gauge
kube_ipvs_object_problems_omitted 4905
`), "kube_ipvs_object_problems_omitted"); err != nil {
		t.Error(err)
	}
	families, err := reg.Gather()
	if err != nil || !strings.Contains(fmt.Sprint(families), "zoo") {
		t.Errorf("that of another namespace has none: %v", err)
	}
}
