package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testLock is a name that no real daemon on this machine has.
var testLock = fmt.Sprintf("@kube-ipvs-test-%d", os.Getpid())

const lockVariable = "KUBE_IPVS_NODE_TEST_LOCK"

// rootVariable has the folder that becomes the root of a role first.
const rootVariable = "KUBE_IPVS_NODE_TEST_ROOT"

// userVariable has the user that a role becomes first.
const userVariable = "KUBE_IPVS_NODE_TEST_USER"

func becomeUser() error {
	if root := os.Getenv(rootVariable); root != "" {
		if err := unix.Chroot(root); err != nil {
			return err
		}
	}
	user, err := strconv.Atoi(os.Getenv(userVariable))
	if err != nil {
		return nil // it stays what it is
	}
	return unix.Setuid(user)
}

func askAsRole() error {
	if err := becomeUser(); err != nil {
		return err
	}
	h, err := askHolder(os.Getenv(lockVariable), 4096)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %q\n", h.Node, h.Configuration)
	return nil
}

func holdLockAsRole() error {
	if err := becomeUser(); err != nil {
		return err
	}
	release, err := lock(os.Getenv(lockVariable), Identity{PID: os.Getpid(), Version: "v1", Node: "node-1", Started: time.Unix(0, 0).UTC(), Dir: strings.Repeat("<", unix.PathMax)})
	if err != nil {
		return err
	}
	fmt.Println("locked")
	untilInputEnds()
	return release.Close()
}

func TestLockNamesItsHolder(t *testing.T) {
	t.Setenv(lockVariable, testLock)
	cmd := as("hold the lock")
	if got := running(t, cmd); got != "locked" {
		t.Fatal(got)
	}
	for range 2 { // a process may ask again
		_, err := lock(testLock, Identity{})
		want := fmt.Sprintf(`another kube-ipvs programs this node: pid %d, version "v1", node "node-1", since 1970-01-01T00:00:00Z`, cmd.Process.Pid)
		if !errors.Is(err, ErrLocked) || err.Error() != want {
			t.Fatalf("%v\nwant %s", err, want)
		}
	}
	if got := running(t, as("hold the lock")); !strings.Contains(got, "another kube-ipvs") {
		t.Errorf("a second process said %q", got)
	}
}

// A holder that is killed leaves nothing behind.
func TestLockEndsWithItsHolder(t *testing.T) {
	t.Setenv(lockVariable, testLock)
	cmd := as("hold the lock")
	running(t, cmd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	release, err := lock(testLock, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	if release, err = lock(testLock, Identity{}); err != nil {
		t.Fatalf("after a release: %v", err)
	}
	_ = release.Close()
}

// The lock is that of a network namespace.
func TestLockOfAnotherNamespace(t *testing.T) {
	release, err := lock(testLock, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	defer release.Close()
	if err := as("", "unshare", "--net", "true").Run(); err != nil {
		lacks(t, "network namespaces: %v", err)
	}
	t.Setenv(lockVariable, testLock)
	if got := running(t, as("hold the lock", "unshare", "--net")); got != "locked" {
		t.Error(got)
	}
}

// A socket that is bound and answers no one, or with nonsense, is named by
// what the kernel knows.
func TestLockHeldByAStranger(t *testing.T) {
	l, err := net.Listen("unix", testLock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go answer(l, []byte("nonsense\n"), nil)
	_, err = lock(testLock, Identity{})
	if want := fmt.Sprintf("pid %d, which does not identify itself", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	_ = l.Close()

	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: testLock}); err != nil {
		t.Fatal(err)
	}
	if _, err = lock(testLock, Identity{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("bound, and no process listens: %v", err)
	}
	time.AfterFunc(lockPause, func() { _ = unix.Close(fd) })
	release, err := lock(testLock, Identity{})
	if err != nil {
		t.Fatalf("the holder ended while it was asked: %v", err)
	}
	_ = release.Close()
}

// The holder tells its configuration of the moment.
func TestAskHolder(t *testing.T) {
	const most = 2 << 20
	if _, err := askHolder(testLock, most); !errors.Is(err, ErrNotLocked) {
		t.Fatalf("without a holder: %v", err)
	}
	var now atomic.Pointer[string]
	release, err := lock(testLock, Identity{PID: 7, Version: "v1", Node: "node-1", Dir: "/run", Config: func() []byte { return []byte(*now.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = release.Close() }()                                         // the last one
	for _, config := range []string{"first", strings.Repeat("second\n", most/7)} { // more than a buffer of the socket's reader
		now.Store(&config)
		h, err := askHolder(testLock, most)
		if err != nil || string(h.Configuration) != config || h.PID != 7 || h.Version != "v1" || h.Node != "node-1" || h.Dir != "/run" || !h.SameFiles {
			t.Errorf("asked for %d bytes: %v", len(config), err)
		}
	}
	huge := strings.Repeat("x", most+longestIdentity)
	now.Store(&huge)
	if _, err := askHolder(testLock, most); err == nil || !strings.Contains(err.Error(), "its answer is larger than 2129920 bytes") {
		t.Errorf("asked for %d bytes: %v", len(huge), err)
	}
	// A holder without a configuration, or of an old version, has one line.
	_ = release.Close()
	if release, err = lock(testLock, Identity{Node: "node-1"}); err != nil {
		t.Fatal(err)
	}
	if h, err := askHolder(testLock, most); err != nil || h.Node != "node-1" || len(h.Configuration) > 0 {
		t.Errorf("%+v, %v", h, err)
	}
}

// Root and the user of the holder are told the configuration, and no others.
func TestTellStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "root")
	}
	release, err := lock(testLock, Identity{Node: "node-1", Config: func() []byte { return []byte("text") }})
	if err != nil {
		t.Fatal(err)
	}
	defer release.Close()
	t.Setenv(lockVariable, testLock)
	for user, want := range map[string]string{"": `node-1: "text"`, "65534": `node-1: ""`} {
		t.Setenv(userVariable, user)
		if got := running(t, as("ask the holder")); got != want {
			t.Errorf("user %q is told %s, want %s", user, got, want)
		}
	}
}

// Only root and the user of the process that asks are believed.
func TestAskStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "root")
	}
	t.Setenv(lockVariable, testLock)
	t.Setenv(userVariable, "65534")
	if got := running(t, as("hold the lock")); got != "locked" {
		t.Fatal(got)
	}
	if _, err := askHolder(testLock, 4096); err == nil || !strings.Contains(err.Error(), "a process of user 65534, which is not trusted") {
		t.Error(err)
	}
}

// A path means another file to a holder that has another root folder, as in a container, and may mean
// one to a holder that has ended and left its socket to another process.
func TestAskHolderWithOtherFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "root")
	}
	t.Setenv(lockVariable, testLock)
	for root, same := range map[string]bool{"": true, t.TempDir(): false} {
		t.Setenv(rootVariable, root)
		holder := as("hold the lock")
		if got := running(t, holder); got != "locked" {
			t.Fatal(got)
		}
		if h, err := askHolder(testLock, 4096); err != nil || h.SameFiles != same {
			t.Errorf("root %q: %+v, %v", root, h, err)
		}
		if sharesRoot(testLock, int32(os.Getpid())) {
			t.Error("this process has not the socket")
		}
		if err := holder.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = holder.Wait()
	}
}
