package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"

	"kube-ipvs/test/lib/testbed"
)

// health asks at a health-check node port, as load balancers do and from inside, and
// records the answer once all clients have got the same.
func (s *Scene) health(ctx context.Context, label string, at testbed.Frontend) {
	var asks []Ask
	for _, from := range []*testbed.Host{s.Node, s.Ext, s.Far, s.C1, s.RC} {
		asks = append(asks, everyWay(from, at, "tcp")...)
	}
	said := make([]string, len(asks))
	var wg sync.WaitGroup
	for i, a := range asks {
		wg.Go(func() { said[i] = getHealth(ctx, a.From, a.To) })
	}
	wg.Wait()
	for i, a := range asks {
		s.Record(label+": "+a.String(), said[i])
	}
}

// weightHeader is how many endpoints a node has for a load balancer (KEP-3458).
const weightHeader = "X-Load-Balancing-Endpoint-Weight"

func getHealth(ctx context.Context, from *testbed.Host, to netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true}}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to.String()+"/healthz", nil)
	if err != nil {
		return err.Error()
	}
	r, err := client.Do(q)
	if err != nil {
		return testbed.Outcome(testbed.Answer{}, err)
	}
	defer r.Body.Close()
	return fmt.Sprintf("%d, weight %q", r.StatusCode, r.Header.Get(weightHeader))
}
