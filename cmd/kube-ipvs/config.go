package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

func configCommand() *cobra.Command {
	return newGroup("config COMMAND", "print the effective configuration, or list the errors of a file", `
print shows the configuration that run would have with the same flags, and
where each value comes from. validate lists the errors of a file.`, configPrint(), configValidate())
}

func configPrint() *cobra.Command {
	var o options
	var format string
	c := newCommand("print", "print the effective configuration", `
Prints the configuration that "run" with the same flags would have, as the two
documents that --config takes, each value with its origin. It leaves out settings
without effect; warnings on standard error name them. JSON has no origins.`, noArguments, func(c *cobra.Command, _ []string) error {
		if err := o.load(); err != nil {
			return err
		}
		o.warn()
		if format == "json" {
			return o.effective.WriteJSON(c.OutOrStdout())
		}
		return o.effective.WriteYAML(c.OutOrStdout())
	})
	outputFlag(c.Flags(), &format, "yaml", "json")
	o.add(c.Flags())
	return c
}

func configValidate() *cobra.Command {
	var o options
	c := newCommand("validate FILE", "list the errors of a file", `
Lists the errors of a configuration file, and its settings without effect.
Unknown and repeated fields are errors here, as with --strict-config. With flags
it checks the file and the flags together, as "run" takes them. It asks the kernel
for the scheduler, if this process may. A file with errors is a failure.`, oneArgument("name the FILE to validate"), func(c *cobra.Command, args []string) error {
		if o.flags.File != "" {
			return usage(errors.New("--config: give the file without the flag"))
		}
		return o.validate(args[0], c.OutOrStdout())
	})
	o.add(c.Flags())
	c.ValidArgsFunction = completeFile
	return c
}

// validate returns the errors of a file.
func (o *options) validate(file string, out io.Writer) error {
	o.flags.File, o.flags.Strict = file, true
	var err error
	o.effective, err = o.flags.Load()
	for _, w := range o.effective.Warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	if err != nil {
		return err
	}
	if err := schedulerProblem(o.effective, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is valid\n", file)
	return nil
}

// schedulerProblem asks the kernel for the scheduler, if the process may.
func schedulerProblem(c *config.Config, out io.Writer) error {
	k, err := ipvs.Open()
	if err != nil {
		fmt.Fprintf(out, "note: the kernel was not asked for the scheduler %s: %v\n", c.Scheduler, err)
		return nil
	}
	defer func() { _ = k.Close() }()
	err = k.ProbeScheduler(c.Scheduler)
	if !errors.Is(err, ipvs.ErrNoScheduler) {
		if err != nil {
			fmt.Fprintf(out, "note: %v\n", err)
		}
		return nil
	}
	names, _ := k.Schedulers(state.Schedulers)
	return fmt.Errorf("ipvs.scheduler (%s): %w; this kernel has: %s", c.Origins["ipvs.scheduler"], err, strings.Join(names, ", "))
}

// instead carries out the flags that replace running, such as --cleanup. done is false if
// there are none. --init-only is not among them, since it begins as running does.
func (o *options) instead(c *cobra.Command) (done bool, err error) {
	switch {
	case o.showVersion:
		printVersion(c)
	case o.cleanup:
		err = o.cleanUp(c.Context(), c.OutOrStdout())
	case o.writeTo != "":
		err = o.write()
	default:
		return false, nil
	}
	return true, err
}

// cleanUp runs the command cleanup. It continues if the configuration is wrong, which must not
// keep an operator from removing kube-ipvs.
func (o *options) cleanUp(ctx context.Context, out io.Writer) error {
	backend := "auto"
	if err := o.load(); err != nil {
		fmt.Fprintf(out, "the configuration is not used: %v\n", err)
	} else if b := o.effective.IPTablesBackend; b != "" {
		backend = string(b)
	}
	return cleanUp(ctx, backend, out)
}

// write writes the effective configuration to a file, whole or not at all.
func (o *options) write() error {
	if err := o.load(); err != nil {
		return err
	}
	o.warn()
	f, err := os.CreateTemp(filepath.Dir(o.writeTo), ".kube-ipvs-*")
	if err != nil {
		return fmt.Errorf("--write-config-to: %w", err)
	}
	err = errors.Join(o.effective.WriteYAML(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), o.writeTo)
	}
	if err != nil {
		return fmt.Errorf("--write-config-to: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
