// Command kube-ipvs is a service proxy for Kubernetes on IPVS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set by the linker.
var version = "devel"

// command is a subcommand. Its run returns the exit code, and an error for standard error.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, out io.Writer) (int, error)
}

func commands() []command {
	return []command{
		{"run", "program this node and follow the Services until stopped", runCommand},
		{"plan", "print what run would write now, and why; write nothing", planCommand},
		{"state", "print what is programmed on this node, by Service", stateCommand},
		{"explain", "tell the way of a packet to one Service, and the differences from the desired objects", explainCommand},
		{"top", "show the busiest Services of this node, or the endpoints of one", topCommand},
		{"config", "print the effective configuration, or list the errors of a file", configCommand},
		{"cleanup", "remove everything of kube-ipvs from this node, and only that", cleanupCommand},
		{"version", "print the version", versionCommand},
	}
}

func main() {
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitDifferences = 2 // of plan and explain: some objects differ
	exitUsage       = 64
)

func dispatch(args []string, out, errw io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		usage(out)
		if len(args) == 0 {
			return exitUsage
		}
		return exitOK
	}
	if args[0] == "--version" {
		args = []string{"version"}
	}
	// As a DaemonSet of kube-proxy starts it.
	if strings.HasPrefix(args[0], "-") {
		args = append([]string{"run"}, args...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		code, err := c.run(ctx, args[1:], out)
		switch {
		case errors.Is(err, pflag.ErrHelp):
			return exitOK
		case err != nil:
			fmt.Fprintf(errw, "kube-ipvs %s: %v\n", c.name, err)
		}
		return code
	}
	fmt.Fprintf(errw, "kube-ipvs: there is no command %q; see kube-ipvs help\n", args[0])
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, `kube-ipvs makes every port of every Kubernetes Service an IPVS virtual server on
this node, with the Service's endpoints as real servers.

Usage: kube-ipvs COMMAND [FLAGS]
       kube-ipvs FLAGS            the same as kube-ipvs run FLAGS

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nkube-ipvs COMMAND --help describes a command and its flags.\n")
}

func versionCommand(_ context.Context, args []string, out io.Writer) (int, error) {
	if len(args) > 0 {
		return exitUsage, fmt.Errorf("takes no arguments")
	}
	fmt.Fprintln(out, "kube-ipvs", version)
	return exitOK, nil
}
