// Command e2e brings up a Kubernetes cluster on this machine, and takes it down.
// test/e2e/play builds its programs, and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"kube-ipvs/test/e2e"
)

const usage = `usage: test/e2e/play [--dir FOLDER] COMMAND

  up [FLAGS]          brings a cluster up, and leaves it (--help: its flags)
  kubectl ARGUMENT... kubectl with all rights
  sh NODE [SCRIPT]    runs a script on node1, node2, … or machine, which has them all;
                      without a script, a shell on a node
  reboot NODE         ends all on a node at once, and waits until it is ready again
  specs [FLAGS] FOCUS FILE.json
                      runs upstream's specs that a regular expression matches on a cluster
                      that is up, and writes their results (--help)
  conform [FLAGS]     does so for several proxies, each in a cluster of its own (--help)
  document FOLDER FILE.md PROXY...
                      writes the table of what conform has left in a folder
  down                ends the cluster, and removes its folder

--dir is the cluster's folder (/tmp/kube-ipvs-e2e): logs are in it.
`

var errUsage = errors.New("usage")

func main() {
	dir := flag.String("dir", "/tmp/kube-ipvs-e2e", "")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, *dir, flag.Arg(0), flag.Args())
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		flag.Usage()
		os.Exit(64)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, command string, args []string) error {
	switch command {
	case "up":
		return up(ctx, dir, args[1:])
	case "serve":
		return serve(ctx, dir, args[1:])
	case "down":
		return down(ctx, dir)
	case "conform":
		return conform(ctx, dir, args[1:])
	case "document":
		return document(args[1:])
	case "kubectl", "sh", "reboot", "specs":
	default:
		return errUsage
	}
	if err := join(dir); err != nil {
		return err
	}
	c, err := e2e.Attach(dir)
	if err != nil {
		return err
	}
	switch {
	case command == "kubectl":
		cmd := c.Kubectl(args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Run()
	case command == "specs":
		return specs(ctx, c, args[1:])
	case len(args) < 2:
		return errUsage
	case command == "reboot":
		return c.Reboot(ctx, args[1])
	case len(args) == 2:
		return c.Shell(args[1])
	}
	said, err := c.On(ctx, args[1], strings.Join(args[2:], " "))
	if err == nil && said != "" {
		fmt.Println(said)
	}
	return err
}

// options reads the flags of up and serve.
func options(dir string, args []string) (e2e.Options, error) {
	o := e2e.Options{Dir: dir}
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.IntVar(&o.Nodes, "nodes", 2, "how many nodes")
	flags.StringVar(&o.Proxy, "proxy", "image", strings.Join(e2e.Proxies, ", ")+": kube-ipvs by its chart with these --cluster-ip-servers, kube-proxy in this mode, or no proxy")
	flags.StringVar(&o.Plugin, "plugin", "ptp", "network plugin of the nodes: ptp or bridge")
	flags.BoolVar(&o.DualStack, "dual-stack", false, "IPv6 beside IPv4")
	flags.StringVar(&o.Memory, "memory", "8G", "of all nodes together")
	return o, flags.Parse(args)
}
