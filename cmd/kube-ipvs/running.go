package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"kube-ipvs/proxier/config"
	"kube-ipvs/proxier/node"
)

// askHolder is node.AskHolder, but for tests.
var askHolder = func() (*node.Holder, error) { return node.AskHolder(config.MaxSize) }

// identity returns what run tells others about this process, with the configuration that it
// follows at the moment.
func (o *options) identity() node.Identity {
	dir, _ := os.Getwd() // without it relative paths stay as they are
	return node.Identity{
		PID: os.Getpid(), Version: version, Node: o.effective.NodeName, Started: time.Now(), Dir: dir,
		Config: func() []byte {
			var b bytes.Buffer
			_ = o.current.Load().WriteJSON(&b) // a buffer takes all
			return b.Bytes()
		},
	}
}

// loadHere sets the effective configuration of this node: that of the flags or, if they give none,
// the one that the running kube-ipvs follows, or else the defaults. It says on told which one it is
// if the flags give none, and on standard error if a running kube-ipvs cannot be asked.
func (o *options) loadHere(told io.Writer) error {
	if err := o.load(); err != nil || o.flags.Given() {
		return err
	}
	h, err := askHolder()
	switch {
	case errors.Is(err, node.ErrNotLocked):
		fmt.Fprintln(told, "note: without flags the defaults apply, since no kube-ipvs runs here that has a configuration")
		return nil
	case err == nil && len(h.Configuration) == 0:
		err = fmt.Errorf("kube-ipvs %s has none to tell", h.Version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "warning: without flags the defaults apply, and not the configuration of the running kube-ipvs:", err)
		return nil
	}
	fmt.Fprintf(told, "note: without flags the configuration of the running kube-ipvs applies (version %s, since %s)\n", h.Version, h.Started.Format(time.RFC3339))
	return o.take(h)
}

// take sets the effective configuration to that of a running kube-ipvs.
func (o *options) take(h *node.Holder) error {
	c, err := config.Decode("the running kube-ipvs", h.Configuration)
	if err != nil {
		return usage(fmt.Errorf("its configuration cannot be used: give flags: %w", err))
	}
	c.Warnings = append(c.Warnings, o.effective.Warnings...) // of flags without effect
	c.NodeName = cmp.Or(h.Node, c.NodeName)
	for i, path := range c.Own.Manifests {
		c.Own.Manifests[i] = absolute(h.Dir, path)
	}
	c.Proxy.ClientConnection.Kubeconfig = absolute(h.Dir, c.Proxy.ClientConnection.Kubeconfig)
	o.effective, o.taken, o.foreign = c, true, !h.SameFiles
	return nil
}

// absolute returns a path that another process has, whose folder is dir.
func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) || dir == "" {
		return path
	}
	return filepath.Join(dir, path)
}

// objects opens the source of Services for a command. It reads no file that a process with another
// root folder names, as one in a container does: a kubeconfig can have programs started, and files
// sent to a server.
func (o *options) objects(log *slog.Logger) (*objects, error) {
	if o.foreign {
		return nil, o.withSource(errors.New("the running kube-ipvs has another root folder"))
	}
	from, err := openObjects(o.effective, log)
	return from, o.withSource(err)
}

// withSource says more of the error of a source of Services whose configuration is that of a
// running kube-ipvs, and not of this process.
func (o *options) withSource(err error) error {
	if o.taken && err != nil {
		err = fmt.Errorf("%w; the running kube-ipvs may have files that are not here, as in a container: run this command there (kubectl exec), or give flags", err)
	}
	return usage(err)
}
