package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Machine is the name by which On knows the kernel that all nodes are in.
const Machine = "machine"

// On runs a shell script on a node and returns its output. The error is its exit code
// with the output, or the reason why it could not run.
func (c *Cluster) On(ctx context.Context, node, script string) (string, error) {
	host := machine4
	if node != Machine {
		host = nodeAddress(node)
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(host, commandPort))
	if err != nil {
		return "", fmt.Errorf("%s: %w", node, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, script); err != nil {
		return "", fmt.Errorf("%s: %w", node, err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", fmt.Errorf("%s: %w", node, err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("%s: %w", node, errors.Join(err, context.Cause(ctx)))
	}
	i := strings.LastIndex(string(text), "\nexit code ")
	if i < 0 {
		return string(text), fmt.Errorf("%s went away while it ran a script", node)
	}
	said, code := string(text[:i]), string(text[i+1:])
	if code != "exit code 0" {
		return said, fmt.Errorf("%s: %s: %s", node, code, said)
	}
	return said, nil
}

// Shell turns this process into an interactive shell on a node.
func (c *Cluster) Shell(node string) error {
	socat, err := exec.LookPath("socat")
	if err != nil {
		return err
	}
	return syscall.Exec(socat, []string{"socat", "-,rawer", "TCP:" + net.JoinHostPort(nodeAddress(node), shellPort)}, os.Environ())
}

// Reboot ends everything on a node at once, and waits until it is ready again. Its disk
// stays; its network, processes and mounts are new.
func (c *Cluster) Reboot(ctx context.Context, node string) error {
	// When its first process was started.
	const boot = "cut -d' ' -f22 /proc/1/stat"
	before, err := c.On(ctx, node, boot)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := c.On(ctx, Machine, "echo 1 >/sys/fs/cgroup/"+node+"/cgroup.kill"); err != nil {
		return err
	}
	if err := c.await(ctx, node+" to boot", 2*time.Minute, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		after, err := c.On(ctx, node, boot)
		if err == nil && after == before {
			err = errors.New("it is still up")
		}
		return err
	}); err != nil {
		return err
	}
	return c.await(ctx, node+" to be ready", 5*time.Minute, func(ctx context.Context) error { return c.nodeReady(ctx, node, began) })
}
