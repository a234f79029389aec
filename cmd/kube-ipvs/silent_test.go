package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// silentCommand has the arguments of a command that this binary runs instead of tests, on a
// kernel that never answers a request for a socket of generic netlink, as where the node's
// modprobe hangs. The command is on that kernel if silentKernel is set, too.
const (
	silentCommand = "KUBE_IPVS_TEST_COMMAND"
	silentKernel  = "KUBE_IPVS_TEST_SILENT"
)

func TestMain(m *testing.M) {
	command := os.Getenv(silentCommand)
	if command == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(silentKernel) == "" {
		panic(runOnSilentKernel())
	}
	const soon = 10 * time.Millisecond
	lateAnswer, answerDeadline, stopDeadline = soon, time.Hour, soon
	os.Exit(dispatch(strings.Fields(command), os.Stdout, os.Stderr))
}

// runOnSilentKernel runs this binary again with a filter that hands each such request to a
// listener, which nothing reads. It returns only if that fails.
func runOnSilentKernel() error {
	runtime.LockOSThread() // the filter is the thread's
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	filter := []unix.SockFilter{ // struct seccomp_data has the call at 0, and its arguments from 16
		load(0), unless(unix.SYS_SOCKET, 5),
		load(16), unless(unix.AF_NETLINK, 3),
		load(32), unless(unix.NETLINK_GENERIC, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	if _, err := unix.FcntlInt(listener, unix.F_SETFD, 0); err != nil { // it stays open
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), silentKernel+"=yes"))
}

// Each command says that the kernel does not answer, and ends when it is told to.
func TestCommandsOnASilentKernel(t *testing.T) {
	manifests := " --hostname-override node --manifests " + t.TempDir()
	for _, command := range []string{
		"run" + manifests, "run --init-only" + manifests, "plan" + manifests, "explain default/web" + manifests, "state", "top", "cleanup",
	} {
		t.Run(strings.TrimSuffix(command, manifests), func(t *testing.T) {
			if rest := stoppedOnSilentKernel(t, command); !strings.Contains(rest, "not done within") {
				t.Errorf("after the warning it says: %s", rest)
			}
		})
	}
}

// stoppedOnSilentKernel runs a command, in its own network namespace, until it says that it
// waits for the kernel. It sends SIGTERM then, and returns the messages after that.
func stoppedOnSilentKernel(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "/proc/self/exe")
	c.Env = append(os.Environ(), silentCommand+"="+command, "GOMAXPROCS=1") // as in a container of one CPU
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	c.Stdout, c.Stderr = write, write
	err = c.Start()
	_ = write.Close()
	if errors.Is(err, unix.EPERM) {
		t.Skip("user namespaces are forbidden here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var before, after bytes.Buffer
	to := &before
	for lines := bufio.NewScanner(read); lines.Scan(); {
		to.WriteString(lines.Text() + "\n")
		if to == &before && strings.Contains(lines.Text(), "waits for the kernel") {
			to = &after
			if err := c.Process.Signal(unix.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	}
	err = c.Wait()
	if to == &before || ctx.Err() != nil {
		t.Fatalf("%v; it said: %s%s", err, before.String(), after.String())
	}
	return after.String()
}
