package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/kernel/ipvs"
	"kube-ipvs/proxier/state"
)

func configCommand(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) > 0 {
		switch args[0] {
		case "print":
			return configPrint(args[1:], out)
		case "validate":
			return configValidate(args[1:], out)
		case "help", "--help", "-h":
			fmt.Fprint(out, configUsage)
			return exitOK, nil
		}
	}
	return exitUsage, errors.New(strings.TrimSpace(configUsage))
}

const configUsage = `Usage: kube-ipvs config print [FLAGS]
       kube-ipvs config validate FILE [FLAGS]

print shows the configuration that run would have with the same flags, and
where each value comes from. validate lists the errors of a file.
kube-ipvs config print --help lists the flags.
`

func configPrint(args []string, out io.Writer) (int, error) {
	var o options
	var format string
	fs := newFlags("config print", `
Prints the configuration that "run" with the same flags would have, as the two
documents that --config takes, each value with its origin. It leaves out settings
without effect; warnings on standard error name them.
Exit code: 0 printed, 1 the configuration is wrong, 64 wrong usage.`, out)
	fs.StringVarP(&format, "output", "o", "yaml", "yaml, or json without origins")
	o.add(fs)
	if err := parse(fs, args); err != nil {
		return exitUsage, err
	}
	if format != "yaml" && format != "json" {
		return exitUsage, fmt.Errorf("--output: %q is neither yaml nor json", format)
	}
	if err := o.load(); err != nil {
		return exitFailed, err
	}
	o.warn()
	write := o.effective.WriteYAML
	if format == "json" {
		write = o.effective.WriteJSON
	}
	if err := write(out); err != nil {
		return exitFailed, err
	}
	return exitOK, nil
}

func configValidate(args []string, out io.Writer) (int, error) {
	var o options
	fs := newFlags("config validate FILE", `
Lists the errors of a configuration file, and its settings without effect.
Unknown and repeated fields are errors here, as with --strict-config. With flags
it checks the file and the flags together, as "run" takes them. It asks the kernel
for the scheduler, if this process may.
Exit code: 0 no errors, 1 errors, 64 wrong usage.`, out)
	o.add(fs)
	if err := fs.Parse(config.JoinVerbosity(args)); err != nil {
		return exitUsage, err
	}
	switch {
	case fs.NArg() != 1:
		return exitUsage, errors.New("usage: kube-ipvs config validate FILE")
	case o.flags.File != "":
		return exitUsage, errors.New("--config: give the file without the flag")
	}
	o.flags.File, o.flags.Strict = fs.Arg(0), true
	err := o.load()
	for _, w := range o.effective.Warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	if err != nil {
		return exitFailed, err
	}
	if err := schedulerProblem(o.effective, out); err != nil {
		return exitFailed, err
	}
	fmt.Fprintf(out, "%s is valid\n", o.flags.File)
	return exitOK, nil
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
func (o *options) instead(ctx context.Context, out io.Writer) (done bool, code int, err error) {
	switch {
	case o.showVersion:
		code, err = versionCommand(ctx, nil, out)
	case o.cleanup:
		code, err = o.cleanUp(ctx, out)
	case o.writeTo != "":
		code, err = o.write()
	default:
		return false, exitOK, nil
	}
	return true, code, err
}

// cleanUp runs the command cleanup. It continues if the configuration is wrong, which must not
// keep an operator from removing kube-ipvs.
func (o *options) cleanUp(ctx context.Context, out io.Writer) (int, error) {
	backend := "auto"
	if err := o.load(); err != nil {
		fmt.Fprintf(out, "the configuration is not used: %v\n", err)
	} else if b := o.effective.IPTablesBackend; b != "" {
		backend = string(b)
	}
	return cleanupCommand(ctx, []string{"--iptables-backend", backend}, out)
}

// write writes the effective configuration to a file, whole or not at all.
func (o *options) write() (code int, err error) {
	if err := o.load(); err != nil {
		return exitUsage, err
	}
	o.warn()
	f, err := os.CreateTemp(filepath.Dir(o.writeTo), ".kube-ipvs-*")
	if err != nil {
		return exitFailed, fmt.Errorf("--write-config-to: %w", err)
	}
	err = errors.Join(o.effective.WriteYAML(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), o.writeTo)
	}
	if err != nil {
		return exitFailed, fmt.Errorf("--write-config-to: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return exitOK, nil
}
