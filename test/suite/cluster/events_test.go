package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// A Service that cannot be served as it is has one Event for one cause, written
// with the rights of a kube-proxy. A node that finds it made by another one
// leaves it alone, and counts it up if that was long ago.
func countsUp(t *testing.T, c *cluster.Cluster) {
	s := testbed.Service{Name: "odd", Number: 3}
	s.Spec = []string{`externalIPs: ["239.1.2.3", "239.1.2.4"]`}
	must(t, c.Apply(t.Context(), bed.With(s, testbed.Backends(bed.P1))))
	events := c.Client().EventsV1().Events(cluster.Namespace)
	find := func() (all []eventsv1.Event, err error) {
		list, err := events.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for _, e := range list.Items {
			if e.Regarding.Kind == "Service" && e.Regarding.Name == s.Name {
				all = append(all, e)
			}
		}
		return all, nil
	}
	one := func(ok func(*eventsv1.Event) bool) (e eventsv1.Event) {
		told(t, func() error {
			all, err := find()
			if err != nil || len(all) != 1 || !ok(&all[0]) {
				return fmt.Errorf("%w, Events %+v", err, all)
			}
			e = all[0]
			return nil
		})
		return e
	}
	d := startWith(t, c.Kubeconfig(cluster.Guest))
	made := one(func(*eventsv1.Event) bool { return true })
	t.Logf("%s %s: %s", made.Name, made.Reason, made.Note)

	// Another node had made it, half an hour ago.
	must(t, events.Delete(t.Context(), made.Name, metav1.DeleteOptions{}))
	made.ResourceVersion, made.UID, made.ReportingInstance = "", "", "another"
	made.EventTime = metav1.NewMicroTime(time.Now().Add(-30 * time.Minute))
	_, err := events.Create(t.Context(), &made, metav1.CreateOptions{})
	must(t, err)
	must(t, d.Restart())
	counted := one(func(e *eventsv1.Event) bool { return e.Series != nil })
	if counted.Series.Count != 2 || time.Since(counted.Series.LastObservedTime.Time) > time.Minute || counted.ReportingInstance != "another" || counted.Note != made.Note {
		t.Errorf("counted: %+v", counted)
	}
	// The next one finds that it was counted a moment ago.
	must(t, d.Restart())
	told(t, func() error { return patched(t.Context()) })
	if again := one(func(*eventsv1.Event) bool { return true }); again.ResourceVersion != counted.ResourceVersion {
		t.Errorf("changed again: %+v", again)
	}
}

// patched wants the daemon to have patched something, with success.
func patched(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "rest_client_requests_total{") && strings.Contains(line, `code="200"`) && strings.Contains(line, `method="PATCH"`) {
			return err
		}
	}
	return fmt.Errorf("nothing was patched: %w", err)
}
