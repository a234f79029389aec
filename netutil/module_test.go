package netutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What several probes miss becomes one message, with each thing and each module once.
func TestMissingModules(t *testing.T) {
	var all MissingModules
	if all.All() != nil || all.Add(nil) != nil {
		t.Error("something is missing from the start")
	}
	other := errors.New("no memory")
	if err := all.Add(other); err != other || all.All() != nil { //nolint:errorlint // it comes back unchanged, not wrapped
		t.Errorf("another error became %v", err)
	}
	lacks := func(what string, modules ...string) error {
		return fmt.Errorf("try: %w", &MissingModules{errors.New(what), modules})
	}
	for _, err := range []error{lacks("no set", "ip_set"), lacks("no set of ports", "ip_set", "ip_set_port"), lacks("no set", "ip_set"), lacks("no mark", "xt_mark")} {
		must(t, all.Add(err))
	}
	text, want := all.All().Error(), "no set; no set of ports; no mark: on the node, load the modules with modprobe -a ip_set ip_set_port xt_mark, or"
	if !strings.HasPrefix(text, want) {
		t.Errorf("it says %q", text)
	}
}

// The remedy fits a line of a log, and dnf takes what it names: a package of this very kernel.
func TestLacksIsShort(t *testing.T) {
	for _, text := range []string{Lacks("ip_vs"), Lacks("ip_vs", "ip_set")} {
		if rest := len(text) - len(release()); rest > 190 || !strings.Contains(text, ": kernel-modules-extra-"+release()+" on RHEL") {
			t.Errorf("%d bytes and the version: %s", rest, text)
		}
	}
}

func TestOlder(t *testing.T) {
	for release, want := range map[string]bool{
		"4.15.0-213-generic": true, "3.10.0-1160.el7.x86_64": true, "4.18.0-553.el8": false, "4.19": false, "5.4.0": false, "6.12.117+deb13-amd64": false, "unknown": false,
	} {
		if is := older(release, 4, 18); is != want {
			t.Errorf("%s: %v", release, is)
		}
	}
}

// A modprobe that hangs is waited for no longer than any tool, and the error names the
// module. It needs a kernel with modules, as distributions have: make test-kernels.
func TestLoadModuleHasADeadline(t *testing.T) {
	const path = "/proc/sys/kernel/modprobe"
	was, err := os.ReadFile(path)
	if os.Getenv("KUBE_IPVS_LAB") == "" || err != nil {
		t.Skip("needs a machine of the lab whose kernel has modules")
	}
	file := hangingTool(t, "modprobe", "exec sleep 1000")
	t.Cleanup(func() {
		must(t, os.WriteFile(path, was, 0))
		text, err := os.ReadFile(file)
		must(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		must(t, err)
		must(t, unix.Kill(pid, unix.SIGKILL))
	})
	must(t, os.WriteFile(path, []byte(filepath.Join(filepath.Dir(file), "modprobe")), 0))
	began := time.Now()
	err = LoadModule("no_such_module")
	if err == nil || !strings.Contains(err.Error(), "no_such_module: the node's modprobe did not end within 500ms") {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
