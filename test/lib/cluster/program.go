package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// Program is a server that runs on a host and can be ended and started again.
// Its log goes to a file, and goes on there after a restart.
type Program struct {
	Name string
	host *testbed.Host
	path string
	args []string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait, once done is closed
}

// program describes a program of the peers; it does not start it.
func (c *Cluster) program(h *testbed.Host, name string, args ...string) *Program {
	return &Program{Name: name, host: h, path: filepath.Join(c.peers, name), args: args, log: filepath.Join(c.dir, h.Name+"-"+name+".log")}
}

// Start starts it, unless it runs. That it is ready is for others to await.
func (p *Program) Start() error {
	if p.Runs() {
		return nil
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close() // the program has its own
	cmd, done := exec.Command(p.path, p.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	if err := p.host.Do(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, done
	go func() {
		p.err = cmd.Wait()
		close(done)
	}()
	return nil
}

// Runs tells whether it has been started and has not ended.
func (p *Program) Runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// PID returns the number of the process that was started last.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Stop ends it by SIGTERM and waits for it. A program that SIGTERM kills
// has stopped as it should.
func (p *Program) Stop() error { return p.end(syscall.SIGTERM) }

// Kill ends it by SIGKILL and waits for it.
func (p *Program) Kill() error { return p.end(syscall.SIGKILL) }

func (p *Program) end(sig syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s did not end within 30 s of %s", p.Name, sig)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() && w.Signal() == sig {
			return nil
		}
	}
	return p.err
}

// Log returns the last lines of its output.
func (p *Program) Log(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Ready waits until a GET of url is answered by 200, as long as the program runs.
func (p *Program) Ready(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.done:
			cancel(fmt.Errorf("%s has ended: %w", p.Name, p.err))
		case <-ctx.Done():
		}
	}()
	err := testbed.Await(ctx, patience, func() error { return get(ctx, client, url) })
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
