package proxier

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
)

// scheduled gives a Service of webService a scheduler.
func scheduled(ip, scheduler string) source.Event {
	e := webService(ip)
	e.Service.Annotations = map[string]string{model.SchedulerAnnotation: scheduler}
	return e
}

// probed is a kernel that notes the probed schedulers.
type probed struct {
	*kernel.Fake
	names []string
}

func (k *probed) ProbeScheduler(ctx context.Context, name string) error {
	k.names = append(k.names, name)
	return k.Fake.ProbeScheduler(ctx, name)
}

// What Services name without there being such a scheduler is not asked for, and
// not remembered: there is no end to it.
func TestOnlySchedulersOfTheKernelAreProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ip = "10.96.0.10"
		k := &probed{Fake: newFake()}
		c := testConfig(desired.Image)
		p := running(t, k, c)
		p.Synced()
		for i := range 200 {
			p.Events([]source.Event{scheduled(ip, fmt.Sprintf("x%d", i))})
			synctest.Wait()
			told := func(pr model.Problem) bool {
				return pr.Object == "Service default/"+nameOf(ip) && strings.Contains(pr.Field, model.SchedulerAnnotation) && strings.Contains(pr.Message, fmt.Sprintf(`"x%d"`, i))
			}
			if !slices.ContainsFunc(p.Last().Problems, told) {
				t.Fatalf("nothing is said of x%d: %v", i, p.Last().Problems)
			}
		}
		p.Events([]source.Event{scheduled(ip, "sed")}) // the kernel's, but not this one's
		synctest.Wait()
		time.Sleep(2 * c.AuditPeriod)
		synctest.Wait()
		if len(k.names) < 2 || slices.ContainsFunc(k.names, func(name string) bool { return name != "sed" }) {
			t.Errorf("the kernel was asked for %q", k.names)
		}
	})
}
