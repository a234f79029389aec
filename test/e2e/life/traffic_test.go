package life

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/e2e"
	"kube-ipvs/test/e2e/load"
)

// place is where requests come from: a pod or the network of a node, which dial the
// ClusterIP, or the outside, which dials a node port of the node.
type place struct {
	node, kind string
}

const pod, host, outside = "pod", "host", "outside"

func (p place) String() string { return p.kind + " " + p.node }

var everywhere = []place{{"node1", pod}, {"node1", host}, {"node2", pod}, {"node2", host}, {"node1", outside}, {"node2", outside}}

// The load of each place.
const (
	workers     = 3
	pauses      = 30 * time.Millisecond
	connections = 5
)

// traffic is requests to a Service from several places, all the time.
type traffic struct {
	t       *testing.T
	service *servers
	sources map[place]source
	before  map[place]load.Counts
	began   time.Time
}

// source returns the counts of a place so far.
type source func() (load.Counts, error)

// send begins to send requests from places, and returns when all are answered:
// failures from then on count. It ends with the test.
func send(t *testing.T, s *servers, from ...place) *traffic {
	t.Helper()
	tr := &traffic{t: t, service: s, sources: map[place]source{}, before: map[place]load.Counts{}}
	for _, p := range from {
		if p.kind == outside {
			tr.sources[p] = tr.outside(p)
		} else {
			tr.sources[p] = tr.inside(p)
		}
	}
	for p := range tr.sources {
		await(t, "answers to "+p.String(), func() error {
			n, err := tr.sources[p]()
			if err == nil && (n.Requests-n.Failed < 20 || n.Open < connections || n.Exchanged < connections) {
				err = fmt.Errorf("%+v", n)
			}
			tr.before[p] = n
			return err
		})
	}
	tr.began = time.Now()
	return tr
}

func (tr *traffic) outside(p place) source {
	c := &load.Client{HTTP: net.JoinHostPort(address(p.node), tr.service.nodePorts["http"]), Echo: net.JoinHostPort(address(p.node), tr.service.nodePorts["echo"]),
		Workers: workers, Pause: pauses, Connections: connections, Period: time.Second, Patience: load.Patience}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tr.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	tr.t.Cleanup(func() {
		cancel()
		<-done
	})
	return func() (load.Counts, error) { return c.Counts(), nil }
}

// inside makes a pod that sends.
func (tr *traffic) inside(p place) source {
	t, name := tr.t, strings.Join([]string{"ask", tr.service.Name, p.node, p.kind}, "-")
	t.Helper()
	apply(t, "client.yaml", map[string]any{"Namespace": namespace, "Name": name, "Image": e2e.LoadImage, "Node": p.node, "Host": p.kind == host,
		"Args": []string{"ask", tr.service.clusterIP, fmt.Sprint(workers), pauses.String(), fmt.Sprint(connections)}})
	t.Cleanup(func() {
		if _, err := output(cluster.Kubectl("-n", namespace, "delete", "pod", name, "--wait")); err != nil {
			t.Error(err)
		}
	})
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod", name, "--timeout", patience.String())
	ip := kubectl(t, "-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
	client := &http.Client{Timeout: 10 * time.Second}
	return func() (n load.Counts, err error) {
		answer, err := client.Get("http://" + net.JoinHostPort(ip, load.CountsPort))
		if err != nil {
			return n, err
		}
		defer answer.Body.Close()
		return n, json.NewDecoder(answer.Body).Decode(&n)
	}
}

func address(node string) string { return "192.168.60.1" + strings.TrimPrefix(node, "node") }

// now returns the counts since the beginning.
func (tr *traffic) now() (map[place]load.Counts, error) {
	out := map[place]load.Counts{}
	for p, counts := range tr.sources {
		n, err := counts()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		before := tr.before[p]
		n.Requests -= before.Requests
		n.Failed -= before.Failed
		n.Repeated -= before.Repeated
		n.Slow -= before.Slow
		n.Exchanged -= before.Exchanged
		n.Ended -= before.Ended
		n.Lost -= before.Lost
		n.Errors = n.Errors[len(before.Errors):]
		out[p] = n
	}
	return out, nil
}

// flows waits until each place has sent some more requests, and bytes.
func (tr *traffic) flows() map[place]load.Counts {
	tr.t.Helper()
	first, err := tr.now()
	must(tr.t, err)
	var last map[place]load.Counts
	await(tr.t, "more requests", func() (err error) {
		last, err = tr.now()
		for p, n := range last {
			if n.Requests < first[p].Requests+10 || n.Exchanged+n.Lost+n.Ended < first[p].Exchanged+first[p].Lost+first[p].Ended+connections {
				err = fmt.Errorf("%s: %+v", p, n)
			}
		}
		return err
	})
	return last
}

// sent returns how many requests there have been.
func (tr *traffic) sent() int {
	tr.t.Helper()
	all, err := tr.now()
	must(tr.t, err)
	n := 0
	for _, c := range all {
		n += c.Requests
	}
	return n
}

// whole fails the test unless all requests were answered and no connection was lost, up
// to some that follow now.
func (tr *traffic) whole() load.Counts {
	tr.t.Helper()
	sum := tr.sum(tr.flows())
	if sum.Failed+sum.Lost > 0 {
		tr.t.Errorf("%d of %d requests failed, %d of %d connections were lost", sum.Failed, sum.Requests, sum.Lost, connections*len(tr.sources))
	}
	return sum
}

// sum adds up the counts of all places, and logs them.
func (tr *traffic) sum(all map[place]load.Counts) (sum load.Counts) {
	tr.t.Helper()
	sum.Servers = map[string]int{}
	for _, p := range slices.SortedFunc(maps.Keys(all), func(a, b place) int { return strings.Compare(a.String(), b.String()) }) {
		n := all[p]
		sum.Requests += n.Requests
		sum.Failed += n.Failed
		sum.Repeated += n.Repeated
		sum.Slow += n.Slow
		sum.Exchanged += n.Exchanged
		sum.Ended += n.Ended
		sum.Lost += n.Lost
		for name, times := range n.Servers {
			sum.Servers[name] += times
		}
		for _, text := range n.Errors {
			tr.t.Logf("%s: %s", p, text)
		}
	}
	took := time.Since(tr.began)
	tr.t.Logf("%d requests in %.0f s (%.0f a second) from %d places to %d servers: %d failed, %d took a second packet to begin, %d took more than a second; of %d connections %d were lost and %d ended, after %d bytes",
		sum.Requests, took.Seconds(), float64(sum.Requests)/took.Seconds(), len(all), len(sum.Servers), sum.Failed, sum.Repeated, sum.Slow,
		connections*len(all), sum.Lost, sum.Ended, sum.Exchanged)
	return sum
}
