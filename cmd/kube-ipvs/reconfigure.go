package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"kube-ipvs/proxier/config"
)

// configChanged is the error that ends the daemon after a change of the file. As kube-proxy,
// the daemon fails, so that its supervisor restarts it.
type configChanged struct {
	file   string
	fields []string
}

func (c *configChanged) Error() string {
	return fmt.Sprintf("the configuration file %s has changed (%s): kube-ipvs exits, so that a restart uses it; the programmed objects stay", c.file, strings.Join(c.fields, ", "))
}

// reconfigure follows a change of the configuration file. It logs a faulty file and keeps the
// old configuration. A field that the daemon cannot follow live ends the daemon.
func (d *daemon) reconfigure(end context.CancelCauseFunc) {
	was := d.flags.current.Load()
	log := d.log.With("file", was.File)
	e, err := d.flags.flags.Load()
	if err == nil && e.Scheduler != was.Scheduler {
		err = schedulerProblem(e, io.Discard)
	}
	if err != nil {
		for _, err := range each(err) {
			log.Error("the configuration file has changed and cannot be used; the previous configuration stays in force", "err", err)
		}
		return
	}
	for _, w := range e.Warnings {
		if !slices.Contains(was.Warnings, w) {
			log.Warn("configuration", "warning", w)
		}
	}
	live, restart := was.Changes(e)
	switch {
	case len(restart) > 0:
		end(&configChanged{was.File, restart})
		return
	case len(live) == 0:
		log.Info("the configuration file has changed, and means the same")
	default:
		d.follow(e, slices.Contains(live, "logging.verbosity"))
		log.Info("the configuration file has changed, and is followed", "fields", strings.Join(live, ","))
	}
	d.flags.current.Store(e)
}

// follow hands the live fields to the parts. The level of the log may have been set over HTTP
// since, so follow sets it only if the file's value has changed.
func (d *daemon) follow(e *config.Config, logs bool) {
	if logs {
		d.flags.level.Set(level(e))
	}
	d.proxier.Configure(proxierConfig(e))
}

// each returns the parts of a joined error.
func each(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}
