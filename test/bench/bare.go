package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// bare is a client that reads the objects of a proxy and makes nothing of them: the
// floor for all waits for the API server.
type bare struct {
	name  string
	list  bool // and no stream that begins with all objects
	plain bool // and not compressed
}

var bares = []bare{{"bare list", true, false}, {"bare list, plain", true, true}, {"bare stream", false, false}, {"bare stream, plain", false, true}}

const everything = "All objects read"

// floors measures the cost of reading all objects.
func (r *requestsRun) floors(ctx context.Context) error {
	for _, b := range bares {
		f := &Figure{Topic: everything, Subject: b.name, Services: r.services, Endpoints: controlEndpoints, Unit: "s"}
		var kib, cpu []float64
		for range r.limits.reads {
			before, err := r.lab.read(ctx)
			if err != nil {
				return err
			}
			began := time.Now()
			if err := b.read(ctx, r.lab); err != nil {
				return err
			}
			f.Samples = append(f.Samples, time.Since(began).Seconds())
			after, err := r.lab.read(ctx)
			if err != nil {
				return err
			}
			of := after.since(before)
			kib, cpu = append(kib, of.received/(1<<10)), append(cpu, of.cpu)
		}
		f.Counts = map[string]float64{"KiB received": (&Figure{Samples: kib}).Median(), "CPU s of the API server": (&Figure{Samples: cpu}).Median()}
		r.results.Add(f)
		r.say("  %s", f.line())
	}
	return nil
}

// read asks for all Services and EndpointSlices at once.
func (b bare) read(ctx context.Context, l *lab) error {
	config := l.control.Config(requester)
	config.Dial, config.DisableCompression = l.Node.DialContext, b.plain
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	paths := []string{"/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"}
	errs := make([]error, len(paths))
	var all sync.WaitGroup
	for i, path := range paths {
		all.Go(func() { errs[i] = b.get(ctx, client, config.Host+path) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (b bare) get(ctx context.Context, client *http.Client, url string) error {
	accept, query := "application/vnd.kubernetes.protobuf", "?resourceVersion=0"
	if !b.list {
		accept, query = accept+";stream=watch", "?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+query, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", accept)
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	end, buf, kept := []byte("k8s.io/initial-events-end"), make([]byte, 64<<10), 0
	for {
		n, err := answer.Body.Read(buf[kept:])
		have := buf[:kept+n]
		switch {
		case !b.list && bytes.Contains(have, end), b.list && errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		kept = copy(buf, have[max(0, len(have)-len(end)):])
	}
}
