package testbed

import (
	"bytes"
	"os"
)

// OwnKernel reports whether the lab is a User-Mode Linux, and not namespaces of the
// machine: the parts of a kernel without namespaces, such as the clock, are then the
// lab's own.
func OwnKernel() bool {
	text, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && bytes.Contains(text, []byte("User Mode Linux"))
}
