// Command kernels plays suites of tests on kernels of distributions, in QEMU, with no
// module loaded, or on User-Mode Linux of their sources, and writes the results as a
// table into a document. See the targets test-kernels and test-uml of the Makefile.
package main

import (
	"cmp"
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
	check := flag.Bool("check", false, "only find out whether the target knows the names of kernels and suites")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process
	r, err := newRound(*target, strings.Fields(*kernels), strings.Fields(*suites))
	if err == nil && !*check {
		err = r.play(ctx, *machines, *docs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

// round is what one call of the program plays.
type round struct {
	target  string // whose table is written
	kernels []string
	suites  []*suite
}

// newRound returns the round of these names. It fails if the target does not know one.
func newRound(target string, kernels, suites []string) (*round, error) {
	if _, ok := tables[target]; !ok {
		return nil, fmt.Errorf("there is no table of %s", target)
	}
	r := &round{target: target}
	var err, wrong error
	r.kernels, err = chooseKernels(target, kernels)
	r.suites, wrong = chooseSuites(target, suites)
	return r, errors.Join(err, wrong)
}

// play fetches the kernels, runs the suites on each of them, and reports.
func (r *round) play(ctx context.Context, machines int, docs string) error {
	lock, err := alone()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := build(ctx, r.suites); err != nil {
		return cmp.Or(interrupted(ctx, nil, 0), err)
	}
	all, err := load()
	if err != nil {
		return err
	}
	began := time.Now()
	jobs, wrong := r.jobs(ctx)
	ended := 0
	var lost error
	begin := func(j job) { fmt.Println("kernels:", j.begins()) }
	stopped := run(ctx, machines, jobs, begin, func(res Result) {
		ended++
		all.put(res)
		lost = errors.Join(lost, all.save())
		fmt.Printf("kernels: %s %s: %s, %.0f s\n", res.Kernel, res.Suite, res.plain(), res.Seconds)
		if len(res.Failed) > 0 {
			wrong = append(wrong, res.Kernel+" "+res.Suite)
		}
	})
	if err := errors.Join(interrupted(ctx, stopped, ended), lost); err != nil {
		return err
	}
	fmt.Printf("kernels: %d suites in %s\n\n%s", len(jobs), time.Since(began).Round(time.Second), head(r.suites))
	for _, k := range r.kernels {
		fmt.Print(all.row(k, r.suites))
	}
	err = errors.Join(all.write(docs, r.target), all.writeMore(docs))
	if len(wrong) > 0 {
		err = errors.Join(fmt.Errorf("failed: %s; the output is in %s", strings.Join(wrong, ", "), folder), err)
	}
	return err
}

// jobs fetches the kernels, and returns each suite on each of them, and the kernels that
// cannot be had.
func (r *round) jobs(ctx context.Context) (jobs []job, missing []string) {
	for _, name := range r.kernels {
		k, err := fetch(ctx, name)
		if err != nil {
			missing = append(missing, name+" (it cannot be had)")
			continue
		}
		for _, s := range r.suites {
			jobs = append(jobs, job{k, s})
		}
	}
	return jobs, missing
}

// interrupted says, if a signal has come, which jobs it stopped and what is kept.
func interrupted(ctx context.Context, stopped []job, ended int) error {
	if ctx.Err() == nil {
		return nil
	}
	what := "before a suite began."
	var names []string
	for _, j := range stopped {
		names = append(names, j.kernel.name+" "+j.suite.name)
	}
	if len(names) > 0 {
		what = "while these were played, which have no result: " + strings.Join(names, ", ") + "."
	} else if ended > 0 {
		what = "between suites."
	}
	return fmt.Errorf("interrupted %s Results of suites that have ended, %d in this run, are kept in %s; the document was not written", what, ended, file)
}

// job is a suite to be played on a kernel.
type job struct {
	kernel kernel
	suite  *suite
}

// begins says that the job has begun, and where its output is to be seen meanwhile.
func (j job) begins() string {
	return fmt.Sprintf("%s %s begins; its output is in %s", j.kernel.name, j.suite.name, j.log(""))
}

// run plays the jobs on so many machines side by side, the longest first, and calls begin
// and done one at a time. It returns those that the end of ctx stopped; it begins none after
// that.
func run(ctx context.Context, machines int, jobs []job, begin func(job), done func(Result)) (stopped []job) {
	slices.SortStableFunc(jobs, func(a, b job) int { return b.suite.weight - a.suite.weight })
	next := make(chan job)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range machines {
		wg.Go(func() {
			for j := range next {
				mu.Lock()
				begin(j)
				mu.Unlock()
				r := j.play(ctx)
				mu.Lock()
				if ctx.Err() == nil {
					done(r)
				} else {
					stopped = append(stopped, j)
				}
				mu.Unlock()
			}
		})
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		select {
		case next <- j:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return stopped
}
