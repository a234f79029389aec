package life

import (
	"fmt"
	"os"
	"testing"

	"kube-ipvs/test/e2e/load"
)

var (
	chart  = os.Getenv("KUBE_IPVS_CHART")
	binary = os.Getenv("KUBE_IPVS_BINARY")
)

// Requests without failure mean something: the same requests fail when a Service goes, and
// connections are lost when a server is killed.
func TestFailuresAreCounted(t *testing.T) {
	install(t)
	s := serve(t, servers{Name: "doomed", Replicas: 2})
	tr := send(t, s, everywhere...)
	tr.whole()
	for _, node := range nodes {
		on(t, node, "pkill -9 -f '^/load serve'")
	}
	await(t, "losses to be counted", func() error {
		all, err := tr.now()
		for p, n := range all {
			if n.Lost < connections {
				err = fmt.Errorf("%s: %+v", p, n)
			}
		}
		return err
	})
	kubectl(t, "-n", namespace, "delete", "service", s.Name)
	before, err := tr.now()
	must(t, err)
	var all map[place]load.Counts
	await(t, "failures to be counted", func() error {
		all, err = tr.now()
		for p, n := range all {
			if n.Failed == before[p].Failed {
				err = fmt.Errorf("%s: %+v", p, n)
			}
		}
		return err
	})
	tr.sum(all)
}
