package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Identity says who holds the lock.
type Identity struct {
	PID     int       `json:"pid"` // as its own PID namespace counts
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
}

// ErrLocked is wrapped by the error of Lock when another process holds the lock.
var ErrLocked = errors.New("another kube-ipvs programs this node")

// lockName is an abstract socket address, unix(7): it lives in the network
// namespace, as all that we program does, and ends with the process that holds
// it, however that ends.
const lockName = "@kube-ipvs"

// Lock makes this process the one that programs the network namespace, until
// release is closed or the process ends. Where another one holds the lock, the
// error is ErrLocked and says who that is. The lock guards against mistakes,
// not against malice: any process of the namespace can take the name.
func Lock(id Identity) (release io.Closer, err error) { return lock(lockName, id) }

// How long a holder that does not answer, or that ends at this moment, is asked again.
const (
	lockTries  = 10
	lockPause  = 20 * time.Millisecond
	lockAnswer = time.Second
)

func lock(name string, id Identity) (io.Closer, error) {
	line, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		l, err := net.Listen("unix", name)
		if err == nil {
			go answer(l, append(line, '\n'))
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock the network namespace: %w", err)
		}
		who, err := holder(name)
		if err == nil {
			return nil, fmt.Errorf("%w: %s", ErrLocked, who)
		}
		if try == lockTries { // it is bound and nobody listens
			return nil, fmt.Errorf("%w: it does not answer: %w", ErrLocked, err)
		}
		time.Sleep(lockPause) // it has just ended, or not yet begun to listen
	}
}

// answer tells everybody who asks who holds the lock.
func answer(l net.Listener, line []byte) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as no file descriptor left
			time.Sleep(lockPause)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(lockAnswer))
		_, _ = c.Write(line)
		_ = c.Close()
	}
}

// holder asks who holds the lock. One that says nothing is named by what the
// kernel knows of it. An error means that nobody listens.
func holder(name string) (string, error) {
	c, err := net.DialTimeout("unix", name, lockAnswer)
	if err != nil {
		return "", err
	}
	defer c.Close()
	cred, err := peer(c)
	if err != nil {
		return "", err
	}
	pid := fmt.Sprintf("pid %d", cred.Pid)
	if cred.Pid == 0 { // of a PID namespace that we do not see
		pid = "a pid that is not visible from here"
	}
	if int(cred.Uid) != os.Geteuid() {
		pid += fmt.Sprintf(" of user %d", cred.Uid)
	}
	_ = c.SetDeadline(time.Now().Add(lockAnswer))
	const longest = 4096
	line, err := bufio.NewReader(io.LimitReader(c, longest)).ReadBytes('\n')
	var id Identity
	if err != nil || json.Unmarshal(line, &id) != nil {
		return pid + ", which does not identify itself", nil
	}
	if id.PID != int(cred.Pid) {
		pid += fmt.Sprintf(" (%d in its own namespace)", id.PID)
	}
	return fmt.Sprintf("%s, version %q, node %q, since %s", pid, id.Version, id.Node, id.Started.Format(time.RFC3339)), nil
}

// peer returns what the kernel knows of the process that listens.
func peer(c net.Conn) (*unix.Ucred, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(err, failed)
}
