package balance

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

// TestEverySecond adds an endpoint to four behind wlc, on one node with many connections. The
// kernel publishes what has begun every two seconds, four steps: the endpoint gets no more
// than its share in any second all the same, but for 20 %, and some.
func TestEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, life = 400, 8 // connections a second, seconds
		n := &loaded{Starts: New("node"), random: rand.New(rand.NewPCG(1, 2)), service: &model.Service{Balance: &model.Balance{SlowStart: 10 * time.Second}}}
		for pod := range 4 {
			n.kernel = append(n.kernel, dest{pod, state.Load{Real: realOf(pod), Weight: fine}})
		}
		n.published = loads(n.kernel)
		for i := range life * rate {
			n.connect(i, rate, life)
		}
		n.kernel = append(n.kernel, dest{4, state.Load{Real: realOf(4)}})
		n.Follow(actual(n.kernel[:4]))
		n.weigh()
		all := 0
		for second := range 15 {
			before := n.kernel[4].Began
			for i := range rate {
				n.connect(i+second*rate, rate, life)
			}
			got := int(n.kernel[4].Began - before)
			if all += got; float64(got) > 1.2*rate/5 {
				t.Errorf("second %d: %d new connections, its share is %d", second, got, rate/5)
			}
		}
		if all < 15*rate/5/2 {
			t.Errorf("%d new connections in all, its share is %d", all, 15*rate/5)
		}
	})
}

// loaded is a node with connections all the time.
type loaded struct {
	*Starts
	service   *model.Service
	kernel    []dest
	published []state.Load // what has begun, as the kernel tells it
	open      []int        // their endpoints
	random    *rand.Rand
}

func (n *loaded) weigh() {
	n.Renders(n.service.Key, true)
	weights := n.Weights(n.service, "wlc", vs, addresses([]int{0, 1, 2, 3, 4}), nil)
	n.kernel[4].Weight = weights[4]
	n.Follow(actual(n.kernel))
}

// connect opens connection i, and closes some other one.
func (n *loaded) connect(i, rate, life int) {
	time.Sleep(time.Second / time.Duration(rate))
	if i%(2*rate) == 0 {
		n.published = loads(n.kernel)
	}
	keys := n.Rise(func(state.ID) ([]state.Load, error) {
		now := loads(n.kernel)
		for at := range now {
			now[at].Began = 0
			if at < len(n.published) {
				now[at].Began = n.published[at].Began
			}
		}
		return now, nil
	})
	if len(keys) > 0 {
		n.weigh()
	}
	d := wlc(n.kernel)
	d.Active++
	d.Began++
	if n.open = append(n.open, d.pod); len(n.open) > life*rate {
		at := n.random.IntN(len(n.open))
		old := &n.kernel[n.open[at]]
		old.Active--
		old.Inactive++
		n.open = slices.Delete(n.open, at, at+1)
	}
}
