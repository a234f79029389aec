package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
	"kube-ipvs/proxier/status"
)

// shells have a script of cobra, which asks kube-ipvs for the words that fit.
var shells = []string{"bash", "zsh", "fish"}

func completionCommand() *cobra.Command {
	c := newCommand("completion SHELL", "print a script that completes commands, flags and Services in a shell", `
Prints a script for SHELL, which is bash, zsh or fish, that completes commands,
flags, their values, and for explain and top the Services of this node. To have
it in this shell, and in each new one:
  bash   source <(kube-ipvs completion bash)
         kube-ipvs completion bash >/usr/share/bash-completion/completions/kube-ipvs
  zsh    source <(kube-ipvs completion zsh)
         kube-ipvs completion zsh >"${fpath[1]}/_kube-ipvs"
  fish   kube-ipvs completion fish | source
         kube-ipvs completion fish >~/.config/fish/completions/kube-ipvs.fish`, oneShell, func(c *cobra.Command, args []string) error {
		out := c.OutOrStdout()
		switch args[0] {
		case "bash":
			return c.Root().GenBashCompletionV2(out, true)
		case "zsh":
			return c.Root().GenZshCompletion(out)
		}
		return c.Root().GenFishCompletion(out, true)
	})
	c.ValidArgs = shells
	return c
}

func oneShell(c *cobra.Command, args []string) error {
	if err := oneArgument("name a SHELL: "+strings.Join(shells, ", "))(c, args); err != nil {
		return err
	}
	return config.OneOf(shells, args[0])
}

// chooser is a flag whose values are some words.
type chooser interface{ Choices() []string }

// completeFlags completes the values of the flags of all commands below c: the choices, or files.
func completeFlags(c *cobra.Command) {
	for _, sub := range c.Commands() {
		completeFlags(sub)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		var complete cobra.CompletionFunc
		switch choices, ok := f.Value.(chooser); {
		case f.Name == "config" || f.Name == "kubeconfig" || f.Name == "manifests" || f.Name == "write-config-to":
			complete = completeFile
		case ok && choices.Choices() != nil:
			complete = cobra.FixedCompletions(choices.Choices(), cobra.ShellCompDirectiveNoFileComp)
		default:
			return
		}
		_ = c.RegisterFlagCompletionFunc(f.Name, complete) // the flag exists, and is new
	})
}

// completeFile has the shell complete the name of a file.
func completeFile(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// completionWait is how long the shell may wait for the kernel.
const completionWait = 2 * time.Second

// completeService completes the first argument by the Services that the kernel serves. Without
// the right to ask it there are none.
func completeService(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) > 0 {
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionWait)
	defer cancel()
	x, err := ask(ctx, warnOn(io.Discard), "read the Services", func() (*status.Index, error) {
		v := kernel.NewView(netutil.HasIPv6())
		defer func() { _ = v.Close() }()
		return status.ReadIndex(func(note func(state.ID, state.SpecRef)) error { return v.Frontends(ctx, note) })
	})
	if err == nil {
		for _, s := range x.Services() {
			names = append(names, s.String())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
