package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"kube-ipvs/netutil"
)

// A start tries again while another program holds the xtables lock, and for no other reason.
func TestUnlocked(t *testing.T) {
	broken := errors.New("broken")
	for _, end := range []error{nil, broken} {
		tries, waited := 0, 0
		value, err := askUnlocked(t.Context(), func(string, error) { waited++ }, "try", func() (int, error) {
			if tries++; tries < 3 {
				return 0, fmt.Errorf("try: %w", netutil.ErrBusy)
			}
			return tries, end
		})
		if !errors.Is(err, end) || tries != 3 || waited != 2 || value != 3 {
			t.Errorf("%d and %v after %d tries, told of %d", value, err, tries, waited)
		}
	}
}

// wait sets the times of ask for one test.
func wait(t *testing.T, late, answer, stop time.Duration) {
	was := []time.Duration{lateAnswer, answerDeadline, stopDeadline}
	t.Cleanup(func() { lateAnswer, answerDeadline, stopDeadline = was[0], was[1], was[2] })
	lateAnswer, answerDeadline, stopDeadline = late, answer, stop
}

// A kernel that does not answer ends the command, which says what it waits for. A command that
// is to end does so soon, but not before an answer that comes in time.
func TestAskHasADeadline(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	ended, end := context.WithCancel(t.Context())
	end()
	const soon = 10 * time.Millisecond
	silent := func() (bool, error) { <-hang; return true, nil }
	for name, c := range map[string]struct {
		ctx          context.Context
		answer, stop time.Duration
	}{"never": {t.Context(), soon, time.Hour}, "to end": {ended, time.Hour, soon}} {
		wait(t, time.Hour, c.answer, c.stop)
		_, err := ask(c.ctx, nil, "look around", silent)
		if err == nil || !strings.HasPrefix(err.Error(), "look around: not done within") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wait(t, time.Hour, time.Hour, time.Hour)
	if _, err := askUnlocked(ended, nil, "try", func() (bool, error) { return true, netutil.ErrBusy }); !errors.Is(err, netutil.ErrBusy) {
		t.Errorf("what came back in time was not told: %v", err)
	}
}

// Close would wait for a request that goes on, as a file does for a write.
func TestCloseAnswered(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		err    error
		closed int
	}{{nil, 1}, {broken, 1}, {fmt.Errorf("look around: %w", errSilent), 0}} {
		k := &closer{}
		if err := closeAnswered(k, c.err); !errors.Is(err, c.err) || k.closed != c.closed {
			t.Errorf("%v: closed %d times, and it returns %v", c.err, k.closed, err)
		}
	}
}

type closer struct{ closed int }

func (c *closer) Close() error { c.closed++; return nil }

// A late answer is told of once, and counts.
func TestAskWarnsOfALateAnswer(t *testing.T) {
	wait(t, time.Millisecond, time.Hour, time.Hour)
	told := make(chan error, 2)
	value, err := ask(t.Context(), func(_ string, err error) { told <- err }, "look around", func() (error, error) { return <-told, nil })
	if err != nil || value == nil || !strings.HasPrefix(value.Error(), "look around: not done within") || len(told) > 0 {
		t.Errorf("%v, %v, and told %d times more", value, err, len(told))
	}
}

// The kubelet kills no start before its message has come.
func TestDeadlinesFitTheChart(t *testing.T) {
	text, err := os.ReadFile("../../charts/kube-ipvs/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		TerminationGracePeriodSeconds int
		Probes                        struct {
			Startup struct{ InitialDelaySeconds, PeriodSeconds, FailureThreshold int }
		}
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	p := values.Probes.Startup
	start := time.Duration(p.InitialDelaySeconds+p.PeriodSeconds*p.FailureThreshold) * time.Second
	if margin := start - answerDeadline; margin < 15*time.Second {
		t.Errorf("the startup probe allows %s, and one request of a start %s", start, answerDeadline)
	}
	grace := time.Duration(values.TerminationGracePeriodSeconds) * time.Second
	if margin := grace - stopDeadline; margin < 3*time.Second {
		t.Errorf("the grace period is %s, and a stop may wait for %s", grace, stopDeadline)
	}
}

// Each request that a command makes of the kernel has a deadline.
func TestTheKernelIsAsked(t *testing.T) {
	requests := []string{"Apply", "Check", "FindKubeProxy", "Load", "Loaded", "OpenLinux", "Preview", "Read", "RemoveScratch"}
	within := []string{
		"fromIPVS", "printLeft", // are called in takeoverText, and in the daemon's loop
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || slices.Contains(within, f.Name.Name) {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if to, ok := call.Fun.(*ast.Ident); ok && strings.HasPrefix(to.Name, "ask") {
					found++
					return false
				}
				if to, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(requests, to.Sel.Name) {
					if of, ok := to.X.(*ast.Ident); ok && slices.Contains([]string{"kernel", "k", "p"}, of.Name) {
						t.Errorf("%s: %s calls %s.%s outside of ask", name, f.Name.Name, of.Name, to.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if found == 0 {
		t.Error("ask is not called")
	}
}
