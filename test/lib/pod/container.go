// Package pod runs the containers of a pod as a kubelet and its container runtime do,
// in the lab: in the files of an image, with the rights that the pod gives them.
package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Variable has a program that calls Become be a container.
const Variable = "KUBE_IPVS_CONTAINER"

// Container is the settings of a container for the runtime.
type Container struct {
	Root         string // the image's files; mount points are made in there
	Args, Env    []string
	Capabilities []string // names without CAP_; these and no others
	Privileged   bool     // all capabilities, and /proc/sys and /sys can be written
	NoNewRights  bool     // allowPrivilegeEscalation: false
	ReadOnly     bool     // the root
	Score        int      // for the OOM killer, proc(5)
	Mounts       []Mount
}

// Mount puts a file or folder of the node into the container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Command returns a command that runs the container on the network of the
// caller. Ending it ends the container.
func (c Container) Command() (*exec.Cmd, error) {
	program, variable, err := c.Program()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = []string{variable}
	return cmd, nil
}

// Program returns the program of Command, and the variable that it needs. Its
// arguments are added to those of the container.
func (c Container) Program() (program, variable string, err error) {
	if err := c.points(); err != nil {
		return "", "", err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", "", err
	}
	program, err = os.Executable()
	return program, Variable + "=" + string(text), err
}

// points makes the mount points, as runtimes do in a layer of their own.
func (c Container) points() error {
	for _, m := range c.Mounts {
		info, err := os.Stat(m.Source)
		if err != nil {
			return err
		}
		target := filepath.Join(c.Root, m.Target)
		if info.IsDir() {
			err = os.MkdirAll(target, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
			err = os.WriteFile(target, nil, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Become turns this process into a container, if it was started as one. It returns
// nil if it was not, and an error where that fails.
func Become() error {
	text := os.Getenv(Variable)
	if text == "" {
		return nil
	}
	runtime.LockOSThread() // mounts, root and rights are a thread's, and exec(2) is by it
	var c Container
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	if err := c.mountAll(); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(c.Root), unix.Chdir("/")); err != nil {
		return fmt.Errorf("enter %s: %w", c.Root, err)
	}
	if err := c.confine(); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", c.Args[0], syscall.Exec(c.Args[0], append(c.Args, os.Args[1:]...), c.Env))
}

func (c Container) mountAll() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	type step struct {
		source, target, kind string
		flags                uintptr
	}
	in := func(path string) string { return filepath.Join(c.Root, path) }
	readOnly := func(path string) []step {
		return []step{{path, path, "", unix.MS_BIND}, {"", path, "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY}}
	}
	steps := []step{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{c.Root, c.Root, "", unix.MS_BIND},
		{"proc", in("/proc"), "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", in("/sys"), "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/dev", in("/dev"), "", unix.MS_BIND},
	}
	if !c.Privileged {
		steps = slices.Concat(steps, readOnly(in("/proc/sys")), readOnly(in("/sys")))
	}
	for _, m := range c.Mounts {
		steps = append(steps, step{m.Source, in(m.Target), "", unix.MS_BIND})
		if m.ReadOnly {
			steps = append(steps, step{"", in(m.Target), "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY})
		}
	}
	if c.ReadOnly {
		steps = append(steps, step{"", c.Root, "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY})
	}
	for _, s := range steps {
		if err := unix.Mount(s.source, s.target, s.kind, s.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", s.target, err)
		}
	}
	return nil
}

// capabilityBits are those that a manifest of ours may name: linux/capability.h.
var capabilityBits = map[string]int{
	"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_ADMIN": unix.CAP_NET_ADMIN, "NET_RAW": unix.CAP_NET_RAW,
	"SYS_MODULE": unix.CAP_SYS_MODULE, "SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
}

// confine gives up all rights that the container does not have. As runtimes
// do, it leaves nothing to inherit.
func (c Container) confine() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(c.Score)), 0); err != nil {
		return err
	}
	if c.NoNewRights {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if c.Privileged {
		return nil
	}
	var keep uint64
	for _, name := range c.Capabilities {
		bit, ok := capabilityBits[strings.TrimPrefix(name, "CAP_")]
		if !ok {
			return fmt.Errorf("the capability %s is not known here", name)
		}
		keep |= 1 << bit
	}
	for bit := range unix.CAP_LAST_CAP + 1 {
		if keep>>bit&1 == 0 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(bit), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
		}
	}
	var sets [2]unix.CapUserData
	for i := range sets {
		half := uint32(keep >> (32 * i))
		sets[i] = unix.CapUserData{Effective: half, Permitted: half}
	}
	return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])
}
