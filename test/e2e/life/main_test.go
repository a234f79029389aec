// Package life plays the events in the life of a cluster, with requests all the time:
// kube-ipvs comes in the place of kube-proxy, goes to another version and back; nodes,
// kubelets, containerd and the control plane end and begin anew; pods move. No request
// may fail, and no connection be lost.
package life

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kube-ipvs/test/e2e"
	"kube-ipvs/test/lib/testbed"
)

var (
	cluster  *e2e.Cluster
	requests = flag.Int("requests", 10000, "that are to be sent while kube-ipvs is changed for another version and takes over")
	away     = flag.Duration("away", time.Minute, "how long there is no control plane")
)

// inside says that namespaces have been made for this process.
const inside = "KUBE_IPVS_E2E_INSIDE"

func TestMain(m *testing.M) {
	flag.Parse()
	switch {
	case os.Getenv("KUBE_IPVS_E2E") == "" || os.Getenv("KUBE_IPVS_E2E_KERNEL") == "":
		testbed.SkipAll(m, "it needs a cluster: make e2e-life")
	case os.Getenv(inside) == "":
		os.Exit(isolate())
	}
	dir, err := os.MkdirTemp("", "kube-ipvs-life")
	code := 1
	if err == nil {
		code, err = play(m, filepath.Join(dir, "cluster"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintf(os.Stderr, "logs are in %s/cluster/log\n", dir)
	}
	os.Exit(code)
}

// isolate runs the tests in namespaces, and returns their exit code.
func isolate() int {
	cmd := e2e.Isolated(os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
	}
	return cmd.ProcessState.ExitCode() & 255 // killed: -1
}

// play brings up a cluster without a proxy, in which the tests install what they need.
func play(m *testing.M, dir string) (int, error) {
	if err := e2e.Enter(); err != nil {
		return 1, err
	}
	began := time.Now()
	say := func(what string) { fmt.Printf("life: %s (%.0f s)\n", what, time.Since(began).Seconds()) }
	var err error
	cluster, err = e2e.Start(context.Background(), e2e.Options{Dir: dir, Nodes: 2, Proxy: "none", Plugin: "ptp", Memory: "8G"}, say)
	if err != nil {
		return 1, err
	}
	say("up")
	code := m.Run()
	return code, cluster.Close()
}
