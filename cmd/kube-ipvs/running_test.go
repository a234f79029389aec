package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"kube-ipvs/proxier/node"
)

// flagged returns the options of a command with flags.
func flagged(t *testing.T, args ...string) *options {
	t.Helper()
	o := &options{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.add(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

// held makes askHolder answer as a kube-ipvs does that runs with some flags.
func held(t *testing.T, args ...string) {
	t.Helper()
	o := loaded(t, args...)
	o.current.Store(o.effective)
	id := o.identity()
	answers(t, &node.Holder{Identity: id, Configuration: id.Config(), SameFiles: true}, nil)
}

func answers(t *testing.T, h *node.Holder, err error) {
	was := askHolder
	askHolder = func() (*node.Holder, error) { return h, err }
	t.Cleanup(func() { askHolder = was })
}

// Without flags a command has the configuration of the kube-ipvs that runs here, and says so.
func TestConfigurationOfTheRunning(t *testing.T) {
	held(t, "--node-name=n7", "--manifests=/a", "--manifests=b", "--kubeconfig=c", "--scheduler=lc", "--image-prefix=224.0.0.0/5", "--cluster-cidr=10.0.0.0/8")
	o, told := flagged(t), &bytes.Buffer{}
	if err := o.loadHere(told); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c := o.effective
	if c.NodeName != "n7" || c.Scheduler != "lc" || c.PodCIDRs[0].String() != "10.0.0.0/8" || c.Images[0].Cluster.String() != "224.0.0.0/5" {
		t.Errorf("%+v", c)
	}
	if want := []string{"/a", filepath.Join(dir, "b")}; !slices.Equal(c.Own.Manifests, want) || c.Proxy.ClientConnection.Kubeconfig != filepath.Join(dir, "c") {
		t.Errorf("files %q and %s, want %q", c.Own.Manifests, c.Proxy.ClientConnection.Kubeconfig, want)
	}
	if len(c.Warnings) > 0 || !strings.HasPrefix(told.String(), "note: without flags the configuration of the running kube-ipvs applies (version devel, since ") || strings.Count(told.String(), "\n") != 1 {
		t.Errorf("it said %q, %q", told.String(), c.Warnings)
	}
	if images, err := flagged(t).imagePrefixes(); err != nil || images[0].Cluster.String() != "224.0.0.0/5" {
		t.Errorf("state and top take %v, %v", images, err)
	}
	if err := o.withSource(errors.New("no file")); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "kubectl exec") {
		t.Error(err)
	}
}

// The files of a kube-ipvs with another root folder, or of a process that says that it is one, are
// not read. Its other settings apply.
func TestRunningHasOtherFiles(t *testing.T) {
	o := loaded(t, "--scheduler=lc", "--kubeconfig=/tmp/theirs")
	o.current.Store(o.effective)
	answers(t, &node.Holder{Identity: o.identity(), Configuration: o.identity().Config()}, nil)
	here := flagged(t)
	if err := here.loadHere(&bytes.Buffer{}); err != nil || here.effective.Scheduler != "lc" {
		t.Fatal(err)
	}
	_, err := here.objects(slog.New(slog.DiscardHandler))
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "another root folder") || !strings.Contains(err.Error(), "kubectl exec") {
		t.Error(err)
	}
}

// A flag of the configuration means that the others have their defaults.
func TestFlagsAreNotMixedWithTheRunning(t *testing.T) {
	held(t, "--node-name=n7", "--scheduler=lc")
	o, told := flagged(t, "--zone=z"), &bytes.Buffer{}
	if err := o.loadHere(told); err != nil || o.effective.Scheduler != "rr" || o.effective.NodeName == "n7" || told.Len() > 0 {
		t.Errorf("scheduler %s of %s, said %q, %v", o.effective.Scheduler, o.effective.NodeName, told.String(), err)
	}
	if err := o.withSource(errors.New("no file")); exitCode(err) != exitUsage || err.Error() != "no file" {
		t.Error(err)
	}
}

// Flags of the log, and those without effect, give no configuration. They are checked nevertheless.
func TestFlagsOfTheLogAreNoConfiguration(t *testing.T) {
	held(t, "--node-name=n7", "--scheduler=lc")
	for flag, warns := range map[string]bool{"-v=4": false, "--verbose": false, "--log-format=json": false, "--strict-config": false, "--vmodule=a=1": true} {
		o, told := flagged(t, flag), &bytes.Buffer{}
		if err := o.loadHere(told); err != nil || o.effective.Scheduler != "lc" || o.effective.NodeName != "n7" || told.Len() == 0 {
			t.Errorf("%s: scheduler %s of %s, said %q, %v", flag, o.effective.Scheduler, o.effective.NodeName, told.String(), err)
		}
		if w := o.effective.Warnings; len(w) > 0 != warns {
			t.Errorf("%s: it warns %q", flag, w)
		}
	}
	if err := flagged(t, "--log-format=xml").loadHere(&bytes.Buffer{}); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "--log-format:") {
		t.Error(err)
	}
}

// Without a kube-ipvs, or with one that does not say its configuration, the defaults apply.
func TestNoneRuns(t *testing.T) {
	for _, tt := range []struct {
		h    *node.Holder
		err  error
		told string
	}{
		{nil, node.ErrNotLocked, "note: without flags the defaults apply, since no kube-ipvs runs here that has a configuration\n"},
		{nil, errors.New("of another user"), ""},
		{&node.Holder{}, nil, ""},
	} {
		answers(t, tt.h, tt.err)
		o, told := flagged(t), &bytes.Buffer{}
		if err := o.loadHere(told); err != nil || o.effective.Scheduler != "rr" || told.String() != tt.told {
			t.Errorf("%v: said %q, %v", tt.err, told.String(), err)
		}
	}
	answers(t, &node.Holder{Configuration: []byte("[")}, nil)
	if err := flagged(t).loadHere(&bytes.Buffer{}); exitCode(err) != exitUsage || !strings.Contains(err.Error(), "its configuration cannot be used: give flags: the running kube-ipvs, document 1: malformed") {
		t.Error(err)
	}
}
