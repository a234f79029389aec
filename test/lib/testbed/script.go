package testbed

import (
	"os"
	"syscall"
)

// WriteScript writes a program that can be run at once. While the file is open for writing
// no other goroutine may fork: its child would hold the file open until it has become another
// program, and to run the file meanwhile fails by ETXTBSY ("text file busy").
func WriteScript(path, text string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(text), 0o755)
}
