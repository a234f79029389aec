package node

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// roles are what this test binary does when a test starts it as a process of
// its own. They print, and end when their input does.
var roles = map[string]func() error{"drop": dropAsRole, "hold the lock": holdLockAsRole, "ask the holder": askAsRole, "apply": applyAsRole}

const roleVariable = "KUBE_IPVS_NODE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		if err := role(); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// as returns a command that runs this binary in a role, by way of others such
// as unshare.
func as(role string, by ...string) *exec.Cmd {
	args := append(by, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd
}

// running starts a role and returns its first line.
func running(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("it said %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// untilInputEnds keeps a role alive.
func untilInputEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }

// lacks skips a test for which this machine lacks something, and fails in a lab.
func lacks(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("KUBE_IPVS_LAB") != "" {
		t.Fatalf("the lab lacks "+format, args...)
	}
	t.Skipf("this machine lacks "+format, args...)
}
