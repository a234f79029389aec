package node

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// sharesRoot reports whether the process that listens at an abstract socket has the root folder of
// this one, so that a path means the same file to both. pid is that of the process that began to
// listen. If that has ended and left the socket to another one, any process may have its PID by
// now: so it must have the socket, too.
func sharesRoot(name string, pid int32) bool {
	own, err := os.Stat("/")
	if err != nil {
		return false
	}
	process := fmt.Sprintf("/proc/%d", pid)
	root, err := os.Stat(process + "/root/.")
	return err == nil && os.SameFile(own, root) && hasSocket(process, name)
}

// hasSocket reports whether a process has a socket of an abstract name open.
func hasSocket(process, name string) bool {
	sockets := socketsOf(name)
	files, _ := os.ReadDir(process + "/fd")
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		to, err := os.Readlink(process + "/fd/" + f.Name())
		return err == nil && slices.Contains(sockets, to)
	})
}

// socketsOf returns the sockets with an abstract name, as the links of open files name them. They are
// those of the network namespace in which this thread dials; /proc/net has those of the process's first one.
func socketsOf(name string) (links []string) {
	table, _ := os.ReadFile("/proc/thread-self/net/unix")
	for line := range strings.Lines(string(table)) {
		const inode, path = 6, 7 // columns
		if f := strings.Fields(line); len(f) > path && f[path] == name {
			links = append(links, "socket:["+f[inode]+"]")
		}
	}
	return links
}
