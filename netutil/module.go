package netutil

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LoadModule makes the kernel load a module with a name of at most 15 bytes. The kernel does so
// for a process with CAP_SYS_MODULE that asks for a network device of that name (dev_load in
// net/core/dev_ioctl.c). It starts the node's own modprobe, with the node's files and settings,
// also for a process in a container. Nothing happens without the capability, if the module is
// loaded, or if a device has the name. The result does not tell: look for the module's features
// afterwards. It fails if modprobe does not end in time; the kernel goes on waiting for it.
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

// MissingModules is the error that the kernel lacks features, which modules bring.
type MissingModules struct {
	Err     error    // the features, without the remedy
	Modules []string // by names that modprobe knows; some may be there
}

// Error names the features and, behind them, one remedy for all.
func (m *MissingModules) Error() string { return m.Err.Error() + ": " + Lacks(m.Modules...) }

func (m *MissingModules) Unwrap() error { return m.Err }

// Add adds the features and modules of the MissingModules in err, each once, without what err says
// in front of it. It returns an err that holds none unchanged, and else nil.
func (m *MissingModules) Add(err error) error {
	var more *MissingModules
	if !errors.As(err, &more) {
		return err
	}
	switch text := more.Err.Error(); {
	case m.Err == nil:
		m.Err = more.Err
	case !strings.Contains("; "+m.Err.Error()+"; ", "; "+text+"; "):
		m.Err = fmt.Errorf("%w; %w", m.Err, more.Err)
	}
	for _, name := range more.Modules {
		if !slices.Contains(m.Modules, name) {
			m.Modules = append(m.Modules, name)
		}
	}
	return nil
}

// All returns m, or nil if nothing was added.
func (m *MissingModules) All() error {
	if m.Err == nil {
		return nil
	}
	return m
}

// Lacks returns the remedy for missing modules. Of all distributions it names the package of
// RHEL, where modules are most often missing, since a container cannot see the node's.
func Lacks(modules ...string) string {
	load := "on the node, load the module with modprobe "
	if len(modules) > 1 {
		load = "on the node, load the modules with modprobe -a "
	}
	return load + strings.Join(modules, " ") +
		", or install the package that has what modprobe does not find: kernel-modules-extra-" + release() + " on RHEL, else see docs/install.md"
}

// Older reports whether the kernel's release is before a version. Distributions backport: ask
// for features where they can be seen.
func Older(major, minor int) bool { return older(release(), major, minor) }

func older(release string, major, minor int) bool {
	var is [2]int
	n, err := fmt.Sscanf(release, "%d.%d", &is[0], &is[1])
	return n == 2 && err == nil && slices.Compare(is[:], []int{major, minor}) < 0
}

// release is the kernel's, as packages and folders of modules have it in their names.
func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "VERSION"
	}
	return unix.ByteSliceToString(name.Release[:])
}
