package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kube-ipvs/proxier"
	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

func planCommand() *cobra.Command {
	var o options
	c := newCommand("plan", "print what run would write now, and why; write nothing", `
Prints what "run" with the same flags would write at its start, in order, and
for which Service. Without flags of the configuration, those of the log aside, it
asks the kube-ipvs that runs here for its own. It writes nothing. On standard
error it warns of settings without effect, and of kube-proxy on this node: "run"
would not start there.`, noArguments, func(c *cobra.Command, _ []string) error {
		return o.compared(c.Context(), func(k *counted, p *desired.Preview) error { return o.plan(c.Context(), k, p, c.OutOrStdout()) })
	})
	o.add(c.Flags())
	return c
}

// plan prints a plan. Its error is errDifferences if there is something to write.
func (o *options) plan(ctx context.Context, k *counted, p *desired.Preview, out io.Writer) error {
	if err := refuseKubeProxy(ctx, warnOn(os.Stderr), o.effective); err != nil {
		fmt.Fprintln(os.Stderr, "warning: run would not start here:", err)
	}
	p.Print(out)
	if o.effective.Own.Takeover {
		text, err := ask(ctx, warnOn(os.Stderr), "look for kube-proxy and the node's firewall", func() (string, error) {
			return takeoverText(ctx, k.Linux, p)
		})
		fmt.Fprint(out, text)
		if err != nil {
			return err
		}
	}
	if len(p.Plan) > 0 {
		return errDifferences
	}
	return nil
}

// compared reads the desired objects and the kernel once, and calls then.
func (o *options) compared(ctx context.Context, then func(*counted, *desired.Preview) error) (err error) {
	if err := o.loadHere(os.Stderr); err != nil {
		return err
	}
	c, ko := o.parts()
	o.warn()
	c.Log = slog.New(slog.DiscardHandler)
	src, err := o.objects(c.Log)
	if err != nil {
		return err
	}
	c.Desired.Protected = source.Addresses(src.servers)
	k := &counted{}
	if k.Linux, err = openLinux(ctx, warnOn(os.Stderr), ko); err != nil {
		return err
	}
	defer func() { err = closeAnswered(k, err) }()
	p, err := preview(ctx, c, k, src)
	if err != nil {
		return err
	}
	return then(k, p)
}

// counted is a kernel whose Read also counts the connections of real servers.
type counted struct {
	*kernel.Linux
	connections map[state.ID]uint32
}

// Read is part of kernel.Kernel.
func (k *counted) Read(ctx context.Context) (*state.State, error) {
	s := &state.State{}
	k.connections = map[state.ID]uint32{}
	return s, k.Each(ctx, func(id state.ID, spec state.SpecRef, active, inactive uint32) {
		s.Put(id, spec)
		if id.Kind == state.RealServer {
			k.connections[id] = active + inactive
		}
	})
}

// preview waits until the source has delivered, and compares.
func preview(ctx context.Context, c proxier.Config, k kernel.Kernel, src *objects) (*desired.Preview, error) {
	p := proxier.New(kernel.ReadOnly{Kernel: k}, c)
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	once := &onceLoaded{Proxier: p, loaded: make(chan struct{})}
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { failed <- src.Run(following, once) })
	select {
	case <-once.loaded:
	case <-time.After(planWait):
		return nil, fmt.Errorf("the Services could not be read within %s: %s", planWait, once.why())
	case err := <-failed:
		if err == nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("read the Services: %w", err)
	}
	cancel()
	wg.Wait()
	return ask(ctx, warnOn(os.Stderr), "read the objects", func() (*desired.Preview, error) {
		return p.Preview(context.WithoutCancel(ctx))
	})
}

// onceLoaded is a sink that closes loaded when the source has delivered all that it can read.
type onceLoaded struct {
	*proxier.Proxier
	once   sync.Once
	loaded chan struct{}

	mu       sync.Mutex
	problems []model.Problem
}

// planWait is how long a plan waits for its source.
const planWait = 30 * time.Second

// Problems is part of source.Sink.
func (s *onceLoaded) Problems(ps []model.Problem) {
	s.Proxier.Problems(ps)
	s.mu.Lock()
	s.problems = ps
	s.mu.Unlock()
}

// why returns the first problem of the source.
func (s *onceLoaded) why() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) == 0 {
		return "there is no answer"
	}
	return s.problems[0].String()
}

func (s *onceLoaded) Loaded() { s.Proxier.Loaded(); s.once.Do(func() { close(s.loaded) }) }
func (s *onceLoaded) Synced() { s.Proxier.Synced(); s.once.Do(func() { close(s.loaded) }) }
