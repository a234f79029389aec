package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// Ready waits until a GET of url is answered by 200, as long as the program runs.
func Ready(ctx context.Context, p *testbed.Program, client *http.Client, url string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := testbed.Await(ctx, patience, func() error {
		if !p.Runs() {
			cancel(fmt.Errorf("%s has ended: %w", p.Name, p.Err()))
		}
		return get(ctx, client, url)
	})
	if err != nil {
		return fmt.Errorf("%s is not ready: %w; it said:\n%s", p.Name, errors.Join(err, context.Cause(ctx)), p.Log(30))
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}
