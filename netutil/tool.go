package netutil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// toolDeadline is when a tool is taken for hanging. It is far longer than any
// takes that works: Restore waits five seconds for the xtables lock.
var toolDeadline = 30 * time.Second

// pipeDeadline is how long the output of a tool that has ended may stay open. A
// child that it has left behind can hold it for ever.
var pipeDeadline = 2 * time.Second

type toolCount struct{}

// CountTools returns a context with which each start of a tool is counted in n.
func CountTools(ctx context.Context, n *atomic.Uint64) context.Context {
	return context.WithValue(ctx, toolCount{}, n)
}

// run runs a tool and returns what it prints. It kills the tool, with all that
// it has started, when ctx ends or the tool's time is over, of which the error
// tells: one that hangs in the kernel or waits for another program's lock once
// took all repair of a node with it, in silence. The error of a tool that fails
// is an *exec.ExitError.
func run(ctx context.Context, input, path string, args ...string) (out, msg string, err error) {
	if n, ok := ctx.Value(toolCount{}).(*atomic.Uint64); ok {
		n.Add(1)
	}
	slow := fmt.Errorf("%s did not end within %s", filepath.Base(path), toolDeadline)
	ctx, cancel := context.WithTimeoutCause(ctx, toolDeadline, slow)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDeadline
	err = cmd.Run()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = cmd.Cancel() // what is left of its process group, whose number is therefore still its own
		err = fmt.Errorf("%s has left a process that keeps its output open: %w", filepath.Base(path), err)
	}
	return stdout.String(), stderr.String(), err
}
