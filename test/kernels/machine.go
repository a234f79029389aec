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

// folder keeps the output of suites, and all results.
const folder = "out/kernels"

// kernel is one of a distribution.
type kernel struct {
	name    string
	version string   // the whole one, as uname has it
	env     []string // has the lab boot it
}

// fetch looks for a kernel in the cache, or has it fetched. uml/SUITE is a User-Mode Linux
// of that suite's source: it is built.
func fetch(ctx context.Context, name string) (kernel, error) {
	k := kernel{name: name}
	cmd := exec.CommandContext(ctx, "test/kernels/fetch", name)
	suite, uml := strings.CutPrefix(name, "uml/")
	if uml {
		k.env = []string{"LAB_KERNEL=uml", "LAB_SUITE=" + suite}
		cmd = exec.CommandContext(ctx, "test/lab/run", "--", "uname", "-r")
		cmd.Env = append(os.Environ(), k.env...)
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	said := strings.TrimSpace(string(out))
	if !uml {
		k.env = []string{"LAB_KERNEL=" + said}
	}
	k.version = filepath.Base(said)
	return k, err
}

// play runs the suite, and once more the tests that have failed: those count that
// fail again.
func (j job) play(ctx context.Context) Result {
	began := time.Now()
	r := Result{Kernel: j.kernel.name, Version: j.kernel.version, Suite: j.suite.name, Date: began.Format(time.DateOnly)}
	first := j.boot(ctx, nil, "")
	var second outcome
	if len(first.failed) > 0 {
		second = j.boot(ctx, first.failed, ".again")
	}
	r.Skips, r.Skipped = first.skips, len(first.skips)
	r.Failed = slices.Concat(first.broken, second.broken, j.suite.unplayed(j.kernel.name, first))
	for _, pkg := range j.suite.packages {
		r.Passed += len(first.passed[pkg]) + len(second.passed[pkg])
		r.Again += len(second.passed[pkg])
		for _, test := range first.failed[pkg] {
			if !slices.Contains(second.passed[pkg], test) {
				r.Failed = append(r.Failed, test)
			}
		}
	}
	r.Seconds = time.Since(began).Seconds()
	return r
}

// outcome is the results of the tests of a machine.
type outcome struct {
	passed, failed map[string][]string // by package
	parts          int                 // parts that have passed or failed
	skips          []Skip
	broken         []string // failures without a test to name
}

// boot runs tests of the suite, or the named ones, on a machine of their own, and
// keeps the output.
func (j job) boot(ctx context.Context, named map[string][]string, try string) outcome {
	cmd := exec.CommandContext(ctx, "test/lab/run", "--", "sh", "-c", j.suite.script(j.kernel.name, named))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	root, _ := os.Getwd()
	cmd.Env = append(os.Environ(), "KUBE_IPVS_LAB=1", "KUBE_IPVS_BINARY="+root+"/bin/kube-ipvs",
		"KUBE_IPVS_ROOTFS="+root+"/out/image/root")
	if j.suite.append != "" {
		cmd.Env = append(cmd.Env, "LAB_APPEND="+j.suite.append)
	}
	if j.suite.fresh {
		cmd.Env = append(cmd.Env, "KUBE_IPVS_FRESH=1")
	}
	limit := cmp.Or(os.Getenv("LAB_TIMEOUT"), fmt.Sprint(j.suite.weight*600))
	cmd.Env = append(append(cmd.Env, "LAB_TIMEOUT="+limit), j.kernel.env...)
	var said []byte
	log, err := os.Create(j.log(try))
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

// log is the file that keeps the output of a try: of the first one if empty.
func (j job) log(try string) string {
	return filepath.Join(folder, strings.ReplaceAll(j.kernel.name+"."+j.suite.name, "/", "-")+try+".log")
}

var line = regexp.MustCompile(`(?m)^(?:=== (PACKAGE|ENDED|RUN) +(\S+)$|( *)--- (PASS|FAIL|SKIP): (\S+) )`)

// read finds out which tests ended how. A part of a test that is skipped counts as one
// that is.
func read(said string) outcome {
	out := outcome{passed: map[string][]string{}, failed: map[string][]string{}}
	pkg, ended := "", true
	why := messages(said)
	var open []string // tests that have begun
	for _, m := range line.FindAllStringSubmatch(said, -1) {
		name, part := m[5], m[3] != ""
		if part && m[4] != "SKIP" {
			out.parts++
		}
		if m[1] == "" {
			open = slices.DeleteFunc(open, func(s string) bool { return s == name })
		}
		switch cmp.Or(m[1], m[4]) {
		case "PACKAGE":
			pkg, ended = m[2], false
		case "RUN":
			open = append(open, m[2])
		case "ENDED":
			out.end(pkg, m[2], open)
			open, ended = nil, true
		case "PASS":
			if !part {
				out.passed[pkg] = append(out.passed[pkg], name)
			}
		case "SKIP":
			out.skips = append(out.skips, Skip{pkg, name, why[Skip{Package: pkg, Test: name}]})
		case "FAIL":
			if !part {
				out.failed[pkg] = append(out.failed[pkg], name)
			}
		}
	}
	if !ended {
		out.broken = append(out.broken, pkg+" has not ended")
	}
	return out
}

// end finds out whether a package that has ended has done so by itself, with all of its
// tests: go test ends with 1 where one of them failed, and with others where it stopped.
func (out *outcome) end(pkg, code string, open []string) {
	switch {
	case code != "0" && (code != "1" || len(out.failed[pkg]) == 0):
		out.broken = append(out.broken, pkg+" (exit code "+code+")")
	case len(open) > 0:
		out.broken = append(out.broken, pkg+": "+open[0]+" has not ended")
	}
}
