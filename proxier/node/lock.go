package node

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Identity describes the holder of the lock.
type Identity struct {
	PID     int       `json:"pid"` // in its own PID namespace
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
	Dir     string    `json:"dir,omitempty"` // to which paths in the configuration are relative

	// Config returns the configuration for AskHolder, of the moment; nil: there is none.
	Config func() []byte `json:"-"`
}

// Holder is the process that holds the lock, by its own words.
type Holder struct {
	Identity
	Configuration []byte // empty: it has none, or is of an old version
	SameFiles     bool   // a path means the same file to it and to this process, by the kernel's word
}

// ErrLocked says that another process holds the lock. The error of Lock wraps it.
var ErrLocked = errors.New("another kube-ipvs programs this node")

// ErrNotLocked says that no process holds the lock. The error of AskHolder wraps it.
var ErrNotLocked = errors.New("no kube-ipvs programs this node")

// lockName is an abstract socket address, unix(7). Like the objects of kube-ipvs, it lives in the
// network namespace. It ends with the process that holds it.
const lockName = "@kube-ipvs"

// Lock takes the lock of the network namespace until release is closed or the process ends. If
// another process has it, the error wraps ErrLocked and describes that process. The lock guards
// against mistakes and not against malice: any process of the namespace can take the name.
func Lock(id Identity) (release io.Closer, err error) { return lock(lockName, id) }

// How often Lock asks a holder that does not answer or just ends, and the pause between.
const (
	lockTries  = 10
	lockPause  = 20 * time.Millisecond
	lockAnswer = time.Second
)

// longestIdentity bounds the line that an answer begins with. Its folder may have 4096 bytes, each of
// which JSON may write as six.
const longestIdentity = 32 << 10

func lock(name string, id Identity) (io.Closer, error) {
	line, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		l, err := net.Listen("unix", name)
		if err == nil {
			go answer(l, append(line, '\n'), id.Config)
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("lock the network namespace: %w", err)
		}
		who, err := holder(name)
		if err == nil {
			return nil, fmt.Errorf("%w: %s", ErrLocked, who)
		}
		if try == lockTries { // the name is bound, and no process listens
			return nil, fmt.Errorf("%w: it does not answer: %w", ErrLocked, err)
		}
		time.Sleep(lockPause) // the holder has just ended, or does not listen yet
	}
}

// answer sends the identity of the holder to each process that connects, and behind it the
// configuration, if that process is trusted.
func answer(l net.Listener, line []byte, config func() []byte) {
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
		text := line
		if cred, err := peer(c); err == nil && config != nil && trusted(cred) {
			text = slices.Concat(line, config())
		}
		_, _ = c.Write(text)
		_ = c.Close()
	}
}

// holder asks the holder for its identity. If the holder does not answer, it returns the kernel's
// facts about that process. It fails if no process listens.
func holder(name string) (string, error) {
	c, cred, err := dial(name)
	if err != nil {
		return "", err
	}
	defer c.Close()
	pid := fmt.Sprintf("pid %d", cred.Pid)
	if cred.Pid == 0 { // in a PID namespace that this process does not see
		pid = "a pid that is not visible from here"
	}
	if int(cred.Uid) != os.Geteuid() {
		pid += fmt.Sprintf(" of user %d", cred.Uid)
	}
	line, err := bufio.NewReader(io.LimitReader(c, longestIdentity)).ReadBytes('\n')
	var id Identity
	if err != nil || json.Unmarshal(line, &id) != nil {
		return pid + ", which does not identify itself", nil
	}
	if id.PID != int(cred.Pid) {
		pid += fmt.Sprintf(" (%d in its own namespace)", id.PID)
	}
	return fmt.Sprintf("%s, version %q, node %q, since %s", pid, id.Version, id.Node, id.Started.Format(time.RFC3339)), nil
}

// AskHolder asks the process that programs this node for its identity and configuration, which may
// have most bytes; an answer beyond that is an error. Without such a process the error wraps
// ErrNotLocked. Any process of the network namespace can take the name of the lock, so that AskHolder
// believes root and the user of this process alone.
func AskHolder(most int) (*Holder, error) { return askHolder(lockName, most) }

func askHolder(name string, most int) (*Holder, error) {
	c, cred, err := dial(name)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrNotLocked
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running kube-ipvs: %w", err)
	}
	defer c.Close()
	if !trusted(cred) {
		return nil, fmt.Errorf("a process of user %d, which is not trusted, has the lock of kube-ipvs", cred.Uid)
	}
	most += longestIdentity
	h := &Holder{SameFiles: sharesRoot(name, cred.Pid)}
	answer, err := io.ReadAll(io.LimitReader(c, int64(most)+1))
	line, configuration, _ := bytes.Cut(answer, []byte("\n"))
	switch {
	case err != nil:
	case len(answer) > most:
		err = fmt.Errorf("its answer is larger than %d bytes", most)
	default:
		h.Configuration, err = configuration, json.Unmarshal(line, &h.Identity)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running kube-ipvs: %w", err)
	}
	return h, nil
}

// trusted reports whether a process is root's or of the user of this one.
func trusted(cred *unix.Ucred) bool { return cred.Uid == 0 || int(cred.Uid) == os.Geteuid() }

// dial connects to the holder, for as long as an answer may take, and returns the kernel's facts
// about it.
func dial(name string) (net.Conn, *unix.Ucred, error) {
	c, err := net.DialTimeout("unix", name, lockAnswer)
	if err != nil {
		return nil, nil, err
	}
	cred, err := peer(c)
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(lockAnswer))
	return c, cred, nil
}

// peer returns the kernel's facts about the process at the other end: the one that listens, or that
// has connected.
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
