package netutil

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LoadModule has the kernel load a module by its name of at most 15 bytes, which it does
// for a process with CAP_SYS_MODULE that asks for a network device so called (dev_load in
// net/core/dev_ioctl.c). It is the node's own modprobe that the kernel starts, in the node's
// files and with the node's settings, from wherever it was asked. Nothing happens without
// the capability, where the module is loaded, or where there is a device of that name; and
// nothing tells whether it was: look for what the module brings. It is an error where
// modprobe does not end in time; the kernel goes on waiting for it.
func LoadModule(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to load the module %s: %w", name, err)
	}
	ask, err := unix.NewIfreq(name)
	if err != nil {
		return errors.Join(fmt.Errorf("load the module %s: %w", name, err), unix.Close(fd))
	}
	done := make(chan struct{})
	go func() { // its thread is the kernel's as long as that waits
		defer close(done)
		_ = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ask) // that there is no such device says nothing
		_ = unix.Close(fd)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(toolDeadline):
		return fmt.Errorf("load the module %s: the node's modprobe did not end within %s", name, toolDeadline)
	}
}

// Lacks says what to do where the kernel lacks what modules bring. It names the packages
// of several distributions, since which one the node has cannot be seen in a container.
func Lacks(modules ...string) string {
	load := "on the node, load the module with modprobe "
	if len(modules) > 1 {
		load = "on the node, load the modules with modprobe -a "
	}
	version := release()
	return load + strings.Join(modules, " ") + ", or install the kernel package that carries it where modprobe finds none " +
		"(Debian: linux-image-" + version + "; Ubuntu: linux-modules-" + version + ", linux-modules-extra-" + version +
		"; RHEL: kernel-core, kernel-modules-core, kernel-modules, kernel-modules-extra; Amazon Linux 2: kernel)"
}

// release is the kernel's, as packages and folders of modules have it in their names.
func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "VERSION"
	}
	return unix.ByteSliceToString(name.Release[:])
}
