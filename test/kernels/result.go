package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Result is the result of a suite on a kernel.
type Result struct {
	Kernel, Version, Suite, Date string
	Seconds                      float64
	Passed, Skipped              int
	Again                        int      // of Passed, those that failed at first
	Skips                        []Skip   // the tests that Skipped counts; none in results of earlier versions
	Failed                       []string // tests, or other failures
}

// plain tells the result in words.
func (r Result) plain() string {
	out := []string{fmt.Sprintf("%d passed", r.Passed)}
	if r.Again > 0 {
		out[0] += fmt.Sprintf(" (%d at the second try)", r.Again)
	}
	if r.Skipped > 0 {
		out = append(out, fmt.Sprintf("%d skipped", r.Skipped))
	}
	if limits := limitsOf(r.Kernel, r.Suite); len(limits) > 0 {
		out = append(out, fmt.Sprintf("%d limits", len(limits)))
	}
	if len(r.Failed) > 0 {
		out = append(out, "FAILED: "+strings.Join(r.Failed, ", "))
	}
	return strings.Join(out, ", ")
}

// results are those of all runs: a later one takes the place of an earlier.
type results []Result

var file = filepath.Join(folder, "results.json")

// alone keeps other processes from playing in this tree, whose results and logs would
// replace those of this one, until it is closed.
func alone() (*os.File, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(folder, "lock"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("kernels are played in this tree already: %w", err), lock.Close())
	}
	return lock, nil
}

func load() (results, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out results
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// put takes in a result. Those of another version of the kernel go, since a row is of one.
func (all *results) put(r Result) {
	*all = append(slices.DeleteFunc(*all, func(o Result) bool {
		return o.Kernel == r.Kernel && (o.Suite == r.Suite || o.Version != r.Version)
	}), r)
}

func (all results) save() error {
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func (all results) find(kernel, suite string) (Result, bool) {
	i := slices.IndexFunc(all, func(r Result) bool { return r.Kernel == kernel && r.Suite == suite })
	if i < 0 {
		return Result{}, false
	}
	return all[i], true
}
