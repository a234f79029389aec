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

// toolDeadline is the time after which a tool counts as hanging. It is far longer than a tool
// needs: Restore waits five seconds for the xtables lock.
var toolDeadline = 30 * time.Second

// pipeDeadline is the time for which the output of an ended tool may stay open. A child that it
// has left behind can hold it forever.
var pipeDeadline = 2 * time.Second

type toolCount struct{}

// CountTools returns a context that counts each start of a tool in n.
func CountTools(ctx context.Context, n *atomic.Uint64) context.Context {
	return context.WithValue(ctx, toolCount{}, n)
}

// run runs a tool and returns its output. It kills the tool and its children when ctx ends or
// the tool's time is over, and returns the reason: a tool that hangs in the kernel, or waits for
// another program's lock, must not stop all repair of a node. The error of a tool that fails is
// an *exec.ExitError.
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
		err = fmt.Errorf("a process that %s started keeps its output open: %w", filepath.Base(path), err)
	}
	return stdout.String(), stderr.String(), err
}
