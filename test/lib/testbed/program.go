package testbed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Program is a server that can be ended and started again. Its output goes to a file,
// and goes on there after a restart.
type Program struct {
	Name    string
	File    string           // of its output
	Command func() *exec.Cmd // returns what a start runs
	Host    *Host            // where it runs; in the namespace of this process if nil
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // of Wait, once done is closed
}

// Start starts it, unless it runs. That it is ready is for others to await.
func (p *Program) Start() error {
	if p.Runs() {
		return nil
	}
	out, err := os.OpenFile(p.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() // the program has its own
	cmd, done := p.Command(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	if p.Host == nil {
		err = cmd.Start()
	} else {
		err = p.Host.Do(cmd.Start)
	}
	if err != nil {
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

// Done is closed when the program that was started last has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Err returns why it has ended: nil if it runs, or has ended without an error.
func (p *Program) Err() error {
	if p.cmd == nil || p.Runs() {
		return nil
	}
	return p.err
}

// PID returns the number of the process that was started last.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Stop ends it by SIGTERM and waits for it. A program that SIGTERM kills
// has stopped as it should.
func (p *Program) Stop() error { return p.end(syscall.SIGTERM) }

// Kill ends it by SIGKILL, unless it has ended, and waits for it.
func (p *Program) Kill() error {
	if !p.Runs() {
		return nil
	}
	return p.end(syscall.SIGKILL)
}

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
func (p *Program) Log(lines int) string { return Tail(p.File, lines) }

// Tail returns the last lines of a file, or why it cannot be read.
func Tail(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
