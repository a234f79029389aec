package life

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"kube-ipvs/test/e2e"
)

// A Service gets a canary Deployment by an annotation: its pods together have the percentage
// of the requests that the annotation says, which changes while they are sent. None fails.
func TestCanary(t *testing.T) {
	install(t)
	s := serve(t, servers{Name: "shop", Replicas: 3, Version: "1"})
	canary := *s
	canary.Replicas = 2
	t.Cleanup(func() {
		if _, err := output(cluster.Kubectl("-n", namespace, "delete", "deployment", "shop-canary", "--ignore-not-found")); err != nil {
			t.Error(err)
		}
		remains(t, "app=shop,track=canary")
	})
	canary.Image = e2e.LoadImage
	kubectl(t, "-n", namespace, "annotate", "service", "shop", "kube-ipvs/weights=workload=shop-canary:10%")
	apply(t, "canary.yaml", canary)
	rollout(t, namespace, "deployment/shop-canary")
	tr := send(t, s, place{"node1", pod}, place{"node2", host}, place{"node2", outside})
	for _, percent := range []float64{10, 50, 0} {
		kubectl(t, "-n", namespace, "annotate", "--overwrite", "service", "shop", fmt.Sprintf("kube-ipvs/weights=workload=shop-canary:%.0f%%", percent))
		await(t, fmt.Sprintf("%.0f %% of the requests to the canary", percent), func() error {
			got, of := tr.share("shop-canary-", 1000)
			if math.Abs(got-percent) > 1.5 {
				return fmt.Errorf("%.1f %% of %d requests", got, of)
			}
			t.Logf("%.1f %% of %d requests", got, of)
			return nil
		})
	}
	tr.whole()
}

// share returns the percentage of the next requests that pods whose names begin so answer.
func (tr *traffic) share(begins string, requests int) (percent float64, of int) {
	tr.t.Helper()
	answered := func() (to, all int) {
		places, err := tr.now()
		must(tr.t, err)
		for _, n := range places {
			for name, times := range n.Servers {
				if all += times; strings.HasPrefix(name, begins) {
					to += times
				}
			}
		}
		return to, all
	}
	to, all := answered()
	var nowTo, nowAll int
	await(tr.t, "more requests", func() error {
		if nowTo, nowAll = answered(); nowAll < all+requests {
			return fmt.Errorf("%d of %d", nowAll-all, requests)
		}
		return nil
	})
	return 100 * float64(nowTo-to) / float64(nowAll-all), nowAll - all
}
