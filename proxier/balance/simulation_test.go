package balance

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/docs"
)

// The simulated cluster: each node balances the same pods, and counts its own connections only.
const (
	nodes  = 100
	pods   = 100
	second = float64(time.Second)
	closed = 120 // seconds for which IPVS counts a closed connection as inactive
)

// cluster is the kernels of all nodes, and the connections through them.
type cluster struct {
	kernels [nodes][]dest // in the kernel's order: the one that was added last is the first
	ends    endings
	random  *rand.Rand
	now     float64 // seconds
	life    float64 // mean of a connection, in seconds
	rate    float64 // new connections a second, of all nodes
}

// dest is a real server in a kernel.
type dest struct {
	pod int
	state.Load
}

func (d dest) overhead() uint64 { return uint64(d.Active)<<8 + uint64(d.Inactive) }

// wlc chooses as ip_vs_wlc.c does: the least connections for its weight, the first of equals.
func wlc(all []dest) *dest {
	var least *dest
	for i := range all {
		d := &all[i]
		if d.Weight > 0 && (least == nil || least.overhead()*uint64(d.Weight) > d.overhead()*uint64(least.Weight)) {
			least = d
		}
	}
	return least
}

// ending is the end of a connection, or of the time for which a closed one counts.
type ending struct {
	at        float64
	node, pod int
	closed    bool
}

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newCluster(rate, life float64) *cluster {
	c := &cluster{random: rand.New(rand.NewPCG(1, 2)), life: life, rate: rate}
	for n := range c.kernels {
		for _, pod := range c.random.Perm(pods) { // as desired's shuffle has it
			c.kernels[n] = append(c.kernels[n], dest{pod, state.Load{Real: realOf(pod), Weight: fine}})
		}
	}
	return c
}

// add adds a pod to the kernel of a node.
func (c *cluster) add(n, pod int, weight uint32) {
	c.kernels[n] = append([]dest{{pod, state.Load{Real: realOf(pod), Weight: weight}}}, c.kernels[n]...)
}

func (c *cluster) dest(n, pod int) *dest {
	for i := range c.kernels[n] {
		if d := &c.kernels[n][i]; d.pod == pod {
			return d
		}
	}
	panic("no such pod")
}

// run lets time pass, and returns the number of new connections of a pod.
func (c *cluster) run(seconds float64, pod int) (got int) {
	until := c.now + seconds
	for {
		c.now += c.random.ExpFloat64() / c.rate
		if c.now > until {
			c.now = until
			return got
		}
		c.end()
		n := c.random.IntN(nodes)
		d := wlc(c.kernels[n])
		d.Active++
		d.Began++
		if d.pod == pod {
			got++
		}
		heap.Push(&c.ends, ending{c.now + c.life*c.random.ExpFloat64(), n, d.pod, false})
	}
}

func (c *cluster) end() {
	for len(c.ends) > 0 && c.ends[0].at <= c.now {
		e := heap.Pop(&c.ends).(ending)
		d := c.dest(e.node, e.pod)
		if e.closed {
			d.Inactive--
			continue
		}
		d.Active--
		d.Inactive++
		heap.Push(&c.ends, ending{c.now + closed, e.node, e.pod, true})
	}
}

// ofMean returns a pod's connections, and the most of any pod, by the mean of all.
func (c *cluster) ofMean(pod int) (its, most float64) {
	count, sum := map[int]float64{}, 0.0
	for n := range c.kernels {
		for _, d := range c.kernels[n] {
			count[d.pod] += float64(d.Active)
			sum += float64(d.Active)
		}
	}
	mean := sum / float64(len(count))
	for _, n := range count {
		most = max(most, n/mean)
	}
	return count[pod] / mean, most
}

var figures = flag.Bool("figures", false, "simulate more, which takes minutes, and hold docs/balancing.md to it")

// arrival is a case of TestNewEndpoint.
type arrival struct {
	rate, life float64 // new connections a second, of all nodes, and how long they last in the mean
	within     float64 // seconds for which the new pod is followed
}

// TestNewEndpoint has a cluster balance connections by wlc, which every node counts for itself,
// and adds a pod. The pod never gets more than its share of the new connections (but for
// 20 %), nor has more than the others, and in the end has as many. Without slow start it gets
// nearly all new connections of every node at once (k/k 114619): the test shows that too.
func TestNewEndpoint(t *testing.T) {
	cases := []arrival{{1000, 10, 200}, {500, 60, 300}}
	if *figures {
		cases = []arrival{{10000, 1, 300}, {1000, 10, 200}, {1000, 60, 400}, {200, 600, 3000}}
	}
	var rows [][]string
	for _, a := range cases {
		t.Run(fmt.Sprintf("%.0f a second of %.0f s", a.rate, a.life), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rows = append(rows, a.simulate(t)) })
		})
	}
	c := newCluster(300, 60)
	c.run(3*60, 0)
	for n := range nodes {
		c.add(n, pods, fine)
	}
	got := float64(c.run(10, pods)) / (300 * 10 / (pods + 1))
	if got < 5 {
		t.Errorf("without slow start the new pod got %.1f of its share: the simulation floods nothing", got)
	}
	if *figures {
		rows = append(rows, []string{"300", "60 s", "", fmt.Sprintf("without slow start: %.0f", got), "", ""})
		docs.Hold(t, "balancing.md", "simulation", docs.Table([]string{"new connections a second", "that last", "max/mean before",
			"the new pod's new connections, × its share", "its connections at most, × the mean", "in the end"}, rows))
	}
}

// simulate plays a case, and returns what docs/balancing.md says of it.
func (a arrival) simulate(t *testing.T) []string {
	c := newCluster(a.rate, a.life)
	c.run(3*a.life+2*closed, 0)
	_, most := c.ofMean(0)
	lasting := a.life >= 60 // of others too few are there at a time to show more than chance
	if lasting && most > 1.1 {
		t.Errorf("before: one pod has %.3f of the mean", most)
	}
	r := c.start(30*time.Second, a.within)
	if r.newest > 1.2 || lasting && r.most > 1.2 || r.end < 0.9 {
		t.Errorf("the new pod got up to %.2f of its share of new connections, had up to %.2f of the mean, and %.2f in the end", r.newest, r.most, r.end)
	}
	if r.rising > nodes/2 {
		t.Errorf("its weight rises on %d nodes after %v s", r.rising, a.within)
	}
	t.Logf("max/mean %.3f before; the new pod got up to %.2f of its share of new connections, had up to %.2f of the mean, %.2f after %v s", most, r.newest, r.most, r.end, a.within)
	two := func(x float64) string { return fmt.Sprintf("%.2f", x) }
	return []string{fmt.Sprintf("%.0f", a.rate), fmt.Sprintf("%.0f s", a.life), two(most), two(r.newest), two(r.most), fmt.Sprintf("%.2f after %.0f s", r.end, a.within)}
}

// result is what became of a new pod, by what each pod has or gets in the mean.
type result struct {
	newest, most, end float64
	rising            int // nodes whose weight for it still rises
}

// start adds a pod on all nodes, and follows it.
func (c *cluster) start(during time.Duration, seconds float64) (r result) {
	var starts [nodes]*Starts
	service := &model.Service{Balance: &model.Balance{SlowStart: during}}
	var endpoints [pods + 1]int
	for i := range endpoints {
		endpoints[i] = i
	}
	weigh := func(n int) uint32 {
		starts[n].Renders(service.Key, true)
		starts[n].Follow(actual(c.kernels[n]))
		return starts[n].Weights(service, "wlc", vs, addresses(endpoints[:]), nil)[pods]
	}
	for n := range nodes {
		starts[n] = New(fmt.Sprint("node", n))
		c.add(n, pods, weigh(n))
	}
	step := during.Seconds() / Steps
	fair, got := 0.0, 0
	for range int(seconds / step) {
		got += c.run(step, pods)
		if fair += c.rate * step / (pods + 1); fair >= 1000 { // fewer would show chance
			r.newest = max(r.newest, float64(got)/fair)
			fair, got = 0, 0
		}
		its, _ := c.ofMean(pods)
		r.most, r.end = max(r.most, its), its
		time.Sleep(time.Duration(step * second))
		for n := range nodes {
			if len(starts[n].Rise(func(state.ID) ([]state.Load, error) { return loads(c.kernels[n]), nil })) > 0 {
				c.dest(n, pods).Weight = weigh(n)
			}
		}
	}
	for n := range nodes {
		if !starts[n].Next().IsZero() {
			r.rising++
		}
	}
	return r
}
