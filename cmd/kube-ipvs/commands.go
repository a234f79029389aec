package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/spelling"
)

// newRoot returns kube-ipvs with all its commands, in the order of the help.
func newRoot() *cobra.Command {
	cobra.EnableCommandSorting = false
	root := newGroup("kube-ipvs COMMAND", "", `
kube-ipvs makes every port of every Kubernetes Service an IPVS virtual server on
this node, with the Service's endpoints as real servers.`,
		runCommand(), planCommand(), stateCommand(), explainCommand(), topCommand(), configCommand(), cleanupCommand(), completionCommand(), versionCommand())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetHelpCommand(helpCommand())
	root.SetHelpFunc(printHelp)
	root.SetFlagErrorFunc(flagError)
	root.SetGlobalNormalizationFunc(hyphens)
	root.PersistentFlags().BoolP("help", "h", false, "")
	_ = root.PersistentFlags().MarkHidden("help") // the flag exists
	completeFlags(root)
	return root
}

// hyphens makes --cluster_cidr mean --cluster-cidr, as in kube-proxy.
func hyphens(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// newCommand returns a command. use has its name and its arguments, as the help shows them;
// accepts refuses other arguments.
func newCommand(use, summary, about string, accepts cobra.PositionalArgs, run func(c *cobra.Command, args []string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use + " [FLAGS]", Short: summary, Long: strings.TrimSpace(about), DisableFlagsInUseLine: true, RunE: run,
		Args: func(c *cobra.Command, args []string) error { return usage(accepts(c, args)) },
	}
	c.Flags().SortFlags = false
	return c
}

// newGroup returns a command that has commands. Alone it prints its help.
func newGroup(use, summary, about string, commands ...*cobra.Command) *cobra.Command {
	c := newCommand(use, summary, about, cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return unknownCommand(c, args[0])
	})
	c.AddCommand(commands...)
	return c
}

// unknownCommand is the error of a command that a group does not have.
func unknownCommand(group *cobra.Command, name string) error {
	meant := spelling.Meant(name, "", func(yield func(string) bool) {
		for _, c := range group.Commands() {
			if c.IsAvailableCommand() && !yield(c.Name()) {
				return
			}
		}
	})
	return usage(fmt.Errorf("unknown command %q%s; %s --help lists the commands", name, meant, group.CommandPath()))
}

// noArguments refuses arguments that are not flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is not a flag", args[0])
	}
	return nil
}

// oneArgument refuses all but one argument; missing says what that is.
func oneArgument(missing string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return errors.New(missing)
		case 1:
			return nil
		}
		return fmt.Errorf("one at a time: %q is too much", args[1])
	}
}

// flagError returns the error of a flag, with the flag's whole name, or the names of those that
// may be meant.
func flagError(c *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &bad):
		err = fmt.Errorf("--%s: %w", bad.GetFlag().Name, bad.Unwrap())
	case errors.As(err, &unknown):
		name := cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName()) // -config is a typo, too
		err = fmt.Errorf("%w%s", err, spelling.Meant(name, "--", flagNames(c)))
	}
	return usage(err)
}

// flagNames has the flags that the help of a command lists.
func flagNames(c *cobra.Command) iter.Seq[string] {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return slices.Values(names)
}

// commandOf returns the arguments of the process with the name of the command in front: flags
// alone mean run, as a DaemonSet of kube-proxy starts it.
func commandOf(args []string) []string {
	args = config.JoinVerbosity(args)
	switch {
	case len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd):
		return append(args[:1:1], commandOf(args[1:])...)
	case len(args) == 0 || args[0] == "--help" || args[0] == "-h":
		return append([]string{}, args...) // never nil, for which cobra takes the process's own
	case args[0] == "--version" && !hasRunFlag(args[1:]): // run has the flag, too
		return append([]string{"version"}, args[1:]...)
	case strings.HasPrefix(args[0], "-"):
		return append([]string{"run"}, args...)
	}
	return args
}

// hasRunFlag reports whether arguments are flags of which the command version lacks some.
func hasRunFlag(args []string) bool {
	return len(args) > 0 && strings.HasPrefix(args[0], "-") && versionCommand().ParseFlags(args) != nil
}

func helpCommand() *cobra.Command {
	c := newCommand("help [COMMAND]", "describe a command", "", cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
		to, rest, err := c.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return unknownCommand(to, rest[0])
		}
		return to.Help()
	})
	c.Hidden = true
	return c
}

// printHelp prints the help of a command.
func printHelp(c *cobra.Command, _ []string) {
	out := c.OutOrStdout()
	fmt.Fprintf(out, "Usage: %s\n", c.UseLine())
	if !c.HasParent() {
		fmt.Fprintln(out, "       kube-ipvs FLAGS            the same as kube-ipvs run FLAGS")
	}
	fmt.Fprintf(out, "\n%s\n\n%s\n", c.Long, exitText())
	if c.HasAvailableSubCommands() {
		fmt.Fprintln(out, "\nCommands:")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(out, "  %-10s %s\n", sub.Name(), sub.Short)
			}
		}
		fmt.Fprintf(out, "\n%s COMMAND --help describes a command and its flags.\n", c.CommandPath())
	}
	if c.HasAvailableFlags() {
		fmt.Fprintf(out, "\nFlags:\n%s", c.Flags().FlagUsages())
	}
}
