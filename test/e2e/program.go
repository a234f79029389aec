package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// run starts a program of the cluster, whose output goes to a file.
func (c *Cluster) run(name string, cmd *exec.Cmd) error {
	p := &testbed.Program{Name: name, File: c.path("log", name+".log"), Command: func() *exec.Cmd { return cmd }}
	if err := p.Start(); err != nil {
		return err
	}
	c.programs = append(c.programs, p)
	return nil
}

// MachineEnded is closed when the nodes' kernel has ended, as it does after a panic.
func (c *Cluster) MachineEnded() <-chan struct{} {
	i := slices.IndexFunc(c.programs, func(p *testbed.Program) bool { return p.Name == machineName })
	return c.programs[i].Done()
}

// Stop ends programs of the control plane at once, as the end of their machine does.
func (c *Cluster) Stop(names ...string) error {
	var errs []error
	for _, name := range names {
		i := slices.IndexFunc(c.programs, func(p *testbed.Program) bool { return p.Name == name })
		if i < 0 {
			return fmt.Errorf("%s does not run", name)
		}
		errs = append(errs, c.programs[i].Kill())
		c.programs = slices.Delete(c.programs, i, i+1)
	}
	return errors.Join(errs...)
}

// await calls check until it returns nil. It fails when that takes longer than the
// limit or a program of the cluster has ended, and names the awaited condition.
func (c *Cluster) await(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	limit = testbed.Limit(limit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		for _, p := range c.programs {
			if !p.Runs() {
				return fmt.Errorf("waiting for %s: %s has ended (%w); it said:\n%s", what, p.Name, p.Err(), p.Log(20))
			}
		}
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: not within %s: %w", what, limit, errors.Join(last, context.Cause(ctx)))
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// built returns the path of a program of test/e2e/play, whose folder a variable of the
// environment names.
func built(variable, name string) string { return filepath.Join(os.Getenv(variable), name) }

// Names of those variables.
const (
	peersVariable    = "KUBE_IPVS_PEERS"
	programsVariable = "KUBE_IPVS_E2E"
	kernelVariable   = "KUBE_IPVS_E2E_KERNEL"
	imagesVariable   = "KUBE_IPVS_E2E_IMAGES"
	helmVariable     = "KUBE_IPVS_HELM"
	chartVariable    = "KUBE_IPVS_CHART"
)

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
