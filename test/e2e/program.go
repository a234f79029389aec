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
	"strings"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// program is a process of the cluster; its output goes to a file.
type program struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait, once done is closed
}

// run starts a program.
func (c *Cluster) run(name string, cmd *exec.Cmd) error {
	p := &program{name: name, cmd: cmd, log: c.path("log", name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() // the program has its own
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.programs = append(c.programs, p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return nil
}

func (p *program) kill() error {
	_ = p.cmd.Process.Kill() // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s did not end within 30 s of being killed", p.name)
	}
}

// Stop ends programs of the control plane at once, as the end of their machine does.
func (c *Cluster) Stop(names ...string) error {
	var errs []error
	for _, name := range names {
		i := slices.IndexFunc(c.programs, func(p *program) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("%s does not run", name)
		}
		errs = append(errs, c.programs[i].kill())
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
			select {
			case <-p.done:
				return fmt.Errorf("waiting for %s: %s has ended (%w); it said:\n%s", what, p.name, p.err, tail(p.log, 20))
			default:
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

// tail returns the last lines of a file.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
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
