package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// folder keeps what suites have said, and all results.
const folder = "out/kernels"

// kernel is one of a distribution.
type kernel struct {
	Name   string
	Folder string // "" if it cannot be had
}

// fetch looks for a kernel in the cache, or has it fetched.
func fetch(ctx context.Context, name string) kernel {
	cmd := exec.CommandContext(ctx, "test/kernels/fetch", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return kernel{Name: name}
	}
	return kernel{name, strings.TrimSpace(string(out))}
}

// version is the whole one, as uname has it.
func (k kernel) version() string { return filepath.Base(k.Folder) }

// play runs the suite, and once more the tests that have failed: those count that
// fail again.
func (j job) play(ctx context.Context) Result {
	began := time.Now()
	r := Result{Kernel: j.kernel.Name, Version: j.kernel.version(), Suite: j.suite.name, Date: began.Format(time.DateOnly)}
	if j.kernel.Folder == "" {
		r.Version, r.Failed = "", []string{"this kernel cannot be had"}
		return r
	}
	first := j.boot(ctx, nil, "")
	r.Skipped, r.Failed = first.skipped, first.broken
	var second outcome
	if len(first.failed) > 0 {
		second = j.boot(ctx, first.failed, ".again")
	}
	for _, pkg := range j.suite.packages {
		r.Passed += len(first.passed[pkg]) + len(second.passed[pkg])
		r.Again += len(second.passed[pkg])
		for _, test := range first.failed[pkg] {
			if !slices.Contains(second.passed[pkg], test) {
				r.Failed = append(r.Failed, test)
			}
		}
	}
	r.Limits, r.Failed = limited(j.kernel.Name, r.Failed)
	if r.Passed == 0 && len(r.Limits)+len(r.Failed) == 0 {
		r.Failed = []string{"no test ran"}
	}
	r.Seconds = time.Since(began).Seconds()
	return r
}

// outcome is what the tests of a machine have come to.
type outcome struct {
	passed, failed map[string][]string // by package
	skipped        int
	broken         []string // what went wrong with no test to name
}

// boot runs tests of the suite, or the named ones, on a machine of their own, and
// keeps what was said.
func (j job) boot(ctx context.Context, named map[string][]string, try string) outcome {
	cmd := exec.CommandContext(ctx, "test/lab/run", "--", "sh", "-c", j.suite.script(named))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	root, _ := os.Getwd()
	cmd.Env = append(os.Environ(), "LAB_KERNEL="+j.kernel.Folder, "KUBE_IPVS_LAB=1", "KUBE_IPVS_BINARY="+root+"/bin/kube-ipvs",
		"KUBE_IPVS_ROOTFS="+root+"/out/image/root", "KUBE_IPVS_RENDERED="+root+"/test/chart/testdata/golden/minimal.yaml")
	if j.suite.fresh {
		cmd.Env = append(cmd.Env, "KUBE_IPVS_FRESH=1")
	}
	limit := cmp.Or(os.Getenv("LAB_TIMEOUT"), fmt.Sprint(j.suite.weight*600))
	cmd.Env = append(cmd.Env, "LAB_TIMEOUT="+limit)
	var said []byte
	log, err := os.Create(filepath.Join(folder, j.kernel.Name+"."+j.suite.name+try+".log"))
	if err == nil {
		cmd.Stdout, cmd.Stderr = log, log
		err = errors.Join(cmd.Run(), log.Close())
		said, _ = os.ReadFile(log.Name())
	}
	out := read(string(said))
	if err != nil {
		out.broken = append(out.broken, fmt.Sprintf("the machine did not end well (%v)", err))
	}
	return out
}

var line = regexp.MustCompile(`(?m)^(?:=== (PACKAGE|ENDED) (\S+)|--- (PASS|FAIL|SKIP): (\w+) )`)

// read finds out which tests ended how.
func read(said string) outcome {
	out := outcome{passed: map[string][]string{}, failed: map[string][]string{}}
	pkg, open, known := "", false, false
	for _, m := range line.FindAllStringSubmatch(said, -1) {
		switch cmp.Or(m[1], m[3]) {
		case "PACKAGE":
			pkg, open, known = m[2], true, false
		case "ENDED":
			if m[2] != "0" && !known {
				out.broken = append(out.broken, pkg+" (exit code "+m[2]+")")
			}
			open = false
		case "PASS":
			out.passed[pkg] = append(out.passed[pkg], m[4])
		case "SKIP":
			out.skipped++
		case "FAIL":
			out.failed[pkg] = append(out.failed[pkg], m[4])
			known = true
		}
	}
	if open {
		out.broken = append(out.broken, pkg+" has not ended")
	}
	return out
}
