package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kube-ipvs/test/e2e"
)

// Files of the cluster's folder beside those of the package: its first process, and that
// it is up.
func pidFile(dir string) string   { return filepath.Join(dir, "pid") }
func readyFile(dir string) string { return filepath.Join(dir, "ready") }

// up has another process bring a cluster up and keep it, and prints its output until
// it is done.
func up(ctx context.Context, dir string, args []string) error {
	if _, err := options(dir, args); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s is there: a cluster is up, or has ended; take it down first", dir)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := e2e.Isolated(append([]string{"--dir", dir, "serve"}, args...)...)
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = write.Close()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	// The other end is closed when the cluster is up, or has failed to be.
	if _, err := io.Copy(os.Stderr, read); err != nil {
		return err
	}
	if _, err := os.Stat(readyFile(dir)); err != nil {
		_ = cmd.Wait()
		return errors.Join(context.Cause(ctx), fmt.Errorf("the cluster is not up; logs are in %s/log", dir))
	}
	if err := os.WriteFile(pidFile(dir), fmt.Appendln(nil, cmd.Process.Pid), 0o644); err != nil {
		return err
	}
	fmt.Printf(`The cluster is up. Logs are in %s/log.
  test/e2e/play kubectl get pods -A
  test/e2e/play sh node1
  test/e2e/play down
`, dir)
	return nil
}

// serve brings a cluster up, and keeps it until it is told to end.
func serve(ctx context.Context, dir string, args []string) error {
	o, err := options(dir, args)
	if err != nil {
		return err
	}
	if err := e2e.Enter(); err != nil {
		return err
	}
	began := time.Now()
	say := func(what string) { fmt.Fprintf(os.Stderr, "e2e: %s (%.0f s)\n", what, time.Since(began).Seconds()) }
	c, err := e2e.Start(ctx, o, say)
	if err != nil {
		return err
	}
	say("up")
	if err := os.WriteFile(readyFile(dir), nil, 0o644); err != nil {
		return errors.Join(err, c.Close())
	}
	// A process that waits for this is told.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	if err := syscall.Dup2(int(null.Fd()), 2); err != nil {
		return errors.Join(err, c.Close())
	}
	select {
	case <-ctx.Done():
	case <-c.MachineEnded(): // those who use the cluster see that this process has gone
	}
	return c.Close()
}

// down ends a cluster. One that has ended by itself leaves only its folder.
func down(ctx context.Context, dir string) error {
	if pid, ok := process(dir); ok {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return os.NewSyscallError("kill", err)
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for ok {
			select {
			case <-ctx.Done():
				return fmt.Errorf("the cluster (process %d) has not ended: %w", pid, context.Cause(ctx))
			case <-time.After(100 * time.Millisecond):
			}
			_, ok = process(dir)
		}
	}
	return os.RemoveAll(dir)
}

// process returns the first process of a cluster, if that runs.
func process(dir string) (int, bool) {
	text, err := os.ReadFile(pidFile(dir))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, false
	}
	// The number may have come to be another's.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return pid, err == nil && strings.Contains(string(args), "--dir\x00"+dir+"\x00serve\x00")
}

// join has this program run again in the network namespace of a cluster, unless it is
// there.
func join(dir string) error {
	const inside = "KUBE_IPVS_E2E_INSIDE"
	if os.Getenv(inside) != "" {
		return nil
	}
	pid, ok := process(dir)
	if !ok {
		return errors.New("no cluster is up")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), self}, os.Args[1:]...)
	return syscall.Exec(nsenter, args, append(os.Environ(), inside+"=1"))
}
