package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// Of the step balance: so many clients connect before a pod comes, and so many in each turn
// while its share rises. There are more turns if it has no client yet: on a busy machine the
// steps of its share take longer.
const (
	held      = 20
	turns     = 4
	mostTurns = 20
	each      = 10
	pause     = 80 * time.Millisecond // between two
	slowStart = "4s"
)

// shops are the pods of shop, in the order of its tables: the canary, and the one that comes.
var shops = []string{"shop/p1", "shop/p2", "shop/r1", "shop/rc"}

// balance has clients connect to stay, and adds a pod while more of them come.
func (d *demo) balance(ctx context.Context) error {
	var open []*testbed.Session
	defer func() {
		for _, s := range open {
			s.Close()
		}
	}()
	connect := func(n int, pause time.Duration) (map[string]int, error) {
		got := map[string]int{}
		for range n {
			time.Sleep(pause)
			s, err := d.bed.C1.Dial(ctx, "tcp", address(shopCluster), d.source())
			if err != nil {
				return nil, err
			}
			open = append(open, s)
			got[s.First.Name]++
		}
		return got, nil
	}
	d.page.say("shop has the scheduler lc, a canary on r1 that ought to get a tenth, and slow start:")
	d.page.quote([]string{"kube-ipvs/scheduler: lc", `kube-ipvs/weights: "workload=shop-canary:10%"`, "kube-ipvs/slow-start: " + slowStart})
	if err := d.edit("shop.yaml", "slow-start: 30s", "slow-start: "+slowStart); err != nil {
		return err
	}
	got, err := connect(held, 0)
	if err != nil {
		return err
	}
	rows := [][]string{append([]string{"connections, all of which stay"}, shops...), row("the first "+strconv.Itoa(held), got)}
	canary := got["shop/r1"]
	if err := d.grow(); err != nil {
		return err
	}
	most, last := 0, 0
	for turn := 0; turn < turns || last == 0 && turn < mostTurns; turn++ {
		if got, err = connect(each, pause); err != nil {
			return err
		}
		rows = append(rows, row(fmt.Sprintf("%d to %d", held+turn*each+1, held+(turn+1)*each), got))
		last = got["shop/rc"]
		most = max(most, last)
	}
	d.page.table(rows)
	if err := d.page.claim(fmt.Sprintf("the canary got a tenth of the first %d", held), canary == held/10, strconv.Itoa(held/10), strconv.Itoa(canary)); err != nil {
		return err
	}
	return d.page.claim("then rc came: of ten in a row it gets 3 or 4 at most, as it ought to, where lc alone gives it all",
		most <= each*3/10+1 && last > 0, "some, and at most 4 of 10", strings.Join(rows[len(rows)-1], " "))
}

// grow adds a pod to shop.
func (d *demo) grow() error {
	rc := d.bed.RC
	if err := d.listen(app{"shop", 8084, nil}, rc); err != nil {
		return err
	}
	const file, before = "shop-endpoints.yaml", "- addresses: [\"10.244.1.31\"]\n"
	added := fmt.Sprintf("- addresses: [%q]\n  nodeName: node2\n  targetRef: {kind: Pod, name: shop-7d4b9c8f6d-b4vfn}\n  conditions: %s\n", rc.IPv4, ready)
	return d.edit(file, before, added+before)
}

func row(what string, got map[string]int) []string {
	out := []string{what}
	for _, name := range shops {
		out = append(out, strconv.Itoa(got[name]))
	}
	return out
}
