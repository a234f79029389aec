package e2e

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Isolated returns a command that runs this program, with other arguments, in
// namespaces of its own. Each process that it starts ends with it, however it ends.
// The program calls Enter there before all else.
func Isolated(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Setsid:     true,
	}
	return cmd
}

// Enter makes the namespaces of Isolated usable: /proc shows the processes of its own.
func Enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.NewSyscallError("mount /proc", unix.Mount("proc", "/proc", "proc", 0, ""))
}
