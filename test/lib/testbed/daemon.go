package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Daemon is a kube-ipvs that runs on the node and follows a folder or an API.
type Daemon struct {
	Dir    string // of the manifests, if it follows a folder
	binary string
	flags  []string
	cmd    *exec.Cmd
	log    *Log
	done   chan struct{}
	err    error // of Wait, once done is closed
	ready  bool  // Ready need not wait
}

// Log keeps output that goroutines write and read.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is part of io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all output.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Start runs "binary run --manifests dir" with further flags.
func Start(binary, dir string, flags ...string) (*Daemon, error) {
	d, err := Run(binary, append([]string{"--manifests", dir}, flags...)...)
	d.Dir = dir
	return d, err
}

// Run runs "binary run" with the flags that name its source, and others.
func Run(binary string, flags ...string) (*Daemon, error) {
	d := &Daemon{log: &Log{}, binary: binary, flags: flags}
	return d, d.start()
}

// PID returns the number of the process that was started last.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

func (d *Daemon) start() error {
	cmd, done := exec.Command(d.binary, append([]string{"run"}, d.flags...)...), make(chan struct{})
	cmd.Stderr, cmd.Stdout = d.log, d.log
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd, d.done, d.ready = cmd, done, false
	go func() {
		d.err = cmd.Wait()
		close(done)
	}()
	return nil
}

// Restart stops the daemon, unless it has ended, and starts it again with the
// same flags. Its log goes on.
func (d *Daemon) Restart() error {
	if !d.Ended() {
		if err := d.Stop(); err != nil {
			return err
		}
	}
	return d.start()
}

// RestartWith is Restart with further flags, of which the last one counts.
func (d *Daemon) RestartWith(flags ...string) error {
	d.flags = append(d.flags, flags...)
	return d.Restart()
}

// Ready waits as AwaitReady does, after each start once.
func (d *Daemon) Ready(ctx context.Context) {
	if !d.ready {
		AwaitReady(ctx, d.PID())
		d.ready = true
	}
}

// Settled waits until "plan" with the flags of this daemon finds no difference between
// the daemon's source and the kernel. Draining endpoints are no difference.
func (d *Daemon) Settled(ctx context.Context) error {
	d.Ready(ctx)
	return Await(ctx, 10*time.Second, func() error {
		out, err := d.Command(ctx, "plan").CombinedOutput()
		if err != nil {
			return fmt.Errorf("plan: %w\n%s", err, out)
		}
		return nil
	})
}

// Command returns a command that runs a subcommand on the node with the flags of
// this daemon, and the arguments before them.
func (d *Daemon) Command(ctx context.Context, subcommand string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, d.binary, append(append([]string{subcommand}, args...), d.flags...)...)
}

// Log returns the daemon's log so far.
func (d *Daemon) Log() string { return d.log.String() }

// Ended reports whether the daemon has ended.
func (d *Daemon) Ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// Stop ends the daemon by SIGTERM and waits for it.
func (d *Daemon) Stop() error { return d.end(syscall.SIGTERM) }

// Wait waits for the daemon to end by itself.
func (d *Daemon) Wait() error {
	select {
	case <-d.done:
		return d.err
	case <-time.After(Limit(30 * time.Second)):
		return errors.New("kube-ipvs has not ended in time")
	}
}

// Kill ends the daemon by SIGKILL and waits for it.
func (d *Daemon) Kill() {
	_ = d.end(syscall.SIGKILL)
}

// Pause has the daemon stand still until resume is called: an audit of its own would
// repair objects that a test deletes by hand.
func (d *Daemon) Pause() (resume func(), err error) {
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return func() { _ = d.cmd.Process.Signal(syscall.SIGCONT) }, nil
}

func (d *Daemon) end(sig syscall.Signal) error {
	if err := d.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.done:
		return d.err
	case <-time.After(Limit(30 * time.Second)):
		_ = d.cmd.Process.Kill()
		return fmt.Errorf("kube-ipvs did not end in time after %s; it said:\n%s", sig, d.Log())
	}
}

// Put writes a manifest as a careful user does: whole, by rename.
func (d *Daemon) Put(name, manifest string) error { return Put(d.Dir, name, manifest) }

// Put writes a manifest into dir, whole, by rename.
func Put(dir, name, manifest string) error {
	tmp := filepath.Join(dir, "."+name+".tmp")
	if err := os.WriteFile(tmp, []byte(manifest), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}

// Remove deletes a manifest.
func (d *Daemon) Remove(name string) error { return os.Remove(filepath.Join(d.Dir, name)) }

// Await calls check until it returns nil and returns its last error when that
// takes longer than the Limit of that time.
func Await(ctx context.Context, limit time.Duration, check func() error) error {
	limit = Limit(limit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
