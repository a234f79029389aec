package netutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const sysctls = "/proc/sys"

// ReadSysctl returns the value of a sysctl, named by its path below /proc/sys
// such as net/ipv4/ip_forward, without the newline. The error is
// fs.ErrNotExist when the kernel has no such sysctl, as when the module it
// belongs to is not loaded.
func ReadSysctl(path string) (string, error) {
	p, err := os.ReadFile(filepath.Join(sysctls, path))
	if err != nil {
		return "", sysctlError("read", path, err)
	}
	return strings.TrimRight(string(p), "\n"), nil
}

// WriteSysctl sets a sysctl. EINVAL means that the kernel refuses the value.
func WriteSysctl(path, value string) error {
	f, err := os.OpenFile(filepath.Join(sysctls, path), os.O_WRONLY, 0) // never creates
	if err != nil {
		return sysctlError("set", path, err)
	}
	_, err = f.WriteString(value + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return sysctlError("set", path, err)
	}
	return nil
}

func sysctlError(verb, path string, err error) error {
	var bare *os.PathError
	if errors.As(err, &bare) {
		err = bare.Err // its path says again what the name says
	}
	name := strings.NewReplacer("/", ".", ".", "/").Replace(path) // as sysctl(8) writes eth0.100
	if verb == "set" && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS)) {
		return fmt.Errorf("set sysctl %s: %w (/proc/sys is read-only in an unprivileged container: set it in a privileged init container or on the host)", name, err)
	}
	return fmt.Errorf("%s sysctl %s: %w", verb, name, err)
}
