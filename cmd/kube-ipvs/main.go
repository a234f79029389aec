// Command kube-ipvs is a service proxy for Kubernetes on IPVS.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "devel"

func main() {
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
}

// dispatch runs the command that args name, and returns its exit code.
func dispatch(args []string, out, errw io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	root := newRoot()
	root.SetArgs(commandOf(args))
	printed := &output{Writer: out}
	root.SetOut(printed)
	root.SetErr(errw)
	c, err := root.ExecuteContextC(ctx)
	err = printed.failure(err)
	code := exitCode(err)
	if err != nil && code != exitDifferences && !printed.closed() {
		fmt.Fprintf(errw, "%s: %v\n", c.CommandPath(), err)
	}
	return code
}
