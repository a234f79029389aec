// Command kernels plays suites of tests on kernels of distributions, in QEMU, with no
// module loaded, or on User-Mode Linux of their sources, and writes the results as a
// table into a document. See the targets test-kernels and test-uml of the Makefile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	target := flag.String("table", "test-kernels", "the table of the document, by the target that writes it")
	kernels := flag.String("kernels", "", "kernels, with a space between; `all` for all rows of the table, and the usual ones of these if empty")
	suites := flag.String("suites", "", "suites, with a space between; those of all columns if empty")
	machines := flag.Int("machines", 2, "how many are to run side by side")
	docs := flag.String("docs", "docs/kernels.md", "the document with the table, of which the rows are written that have been played whole")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, *target, strings.Fields(*kernels), strings.Fields(*suites), *machines, *docs); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

// play fetches the kernels, runs the suites on each of them, and reports.
func play(ctx context.Context, target string, kernels, names []string, machines int, docs string) error {
	t, ok := tables[target]
	if !ok {
		return fmt.Errorf("there is no table of %s", target)
	}
	switch {
	case len(kernels) == 0:
		kernels = t.usual
	case slices.Equal(kernels, []string{"all"}):
		kernels = t.kernels
	}
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		chosen = t.suites
	}
	lock, err := alone()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := build(ctx, chosen); err != nil {
		return err
	}
	all, err := load()
	if err != nil {
		return err
	}
	began := time.Now()
	var missing []string
	var jobs []job
	for _, name := range kernels {
		k, err := fetch(ctx, name)
		if err != nil {
			missing = append(missing, name+" (it cannot be had)")
			continue
		}
		for _, s := range chosen {
			jobs = append(jobs, job{k, s})
		}
	}
	var wrong []string
	var lost error
	run(ctx, machines, jobs, func(r Result) {
		all.put(r)
		lost = errors.Join(lost, all.save())
		fmt.Printf("kernels: %s %s: %s, %.0f s\n", r.Kernel, r.Suite, r.plain(), r.Seconds)
		if len(r.Failed) > 0 {
			wrong = append(wrong, r.Kernel+" "+r.Suite)
		}
	})
	if err := errors.Join(ctx.Err(), lost); err != nil {
		return err
	}
	fmt.Printf("kernels: %d suites in %s\n\n%s", len(jobs), time.Since(began).Round(time.Second), head(chosen))
	for _, k := range kernels {
		fmt.Print(all.row(k, chosen))
	}
	err = errors.Join(all.write(docs, target), all.writeMore(docs))
	if wrong = append(wrong, missing...); len(wrong) > 0 {
		err = errors.Join(fmt.Errorf("failed: %s; the output is in %s", strings.Join(wrong, ", "), folder), err)
	}
	return err
}

// job is a suite to be played on a kernel.
type job struct {
	kernel kernel
	suite  *suite
}

// run plays the jobs on so many machines side by side, the longest first.
func run(ctx context.Context, machines int, jobs []job, done func(Result)) {
	slices.SortStableFunc(jobs, func(a, b job) int { return b.suite.weight - a.suite.weight })
	next := make(chan job)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range machines {
		wg.Go(func() {
			for j := range next {
				r := j.play(ctx)
				mu.Lock()
				if ctx.Err() == nil {
					done(r)
				}
				mu.Unlock()
			}
		})
	}
	for _, j := range jobs {
		next <- j
	}
	close(next)
	wg.Wait()
}
