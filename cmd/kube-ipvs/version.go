package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build describes the binary. Equal sources make equal values: it has no date of the build.
type build struct {
	Version    string `json:"version"`
	Commit     string `json:"commit,omitempty"`     // empty: built without version control
	CommitTime string `json:"commitTime,omitempty"` // RFC 3339
	Modified   bool   `json:"modified,omitempty"`   // the sources differed from the commit
	GoVersion  string `json:"goVersion"`
	Platform   string `json:"platform"` // such as linux/amd64
}

func versionCommand() *cobra.Command {
	var format string
	c := newCommand("version", "print the version", `
Prints the version, and as JSON also the commit, the version of Go and the platform.`, noArguments, func(c *cobra.Command, _ []string) error {
		if format == "json" {
			info, _ := debug.ReadBuildInfo()
			return writeJSON(c.OutOrStdout(), newBuild(info))
		}
		printVersion(c)
		return nil
	})
	outputFlag(c.Flags(), &format, "text", "json")
	return c
}

func printVersion(c *cobra.Command) { fmt.Fprintln(c.OutOrStdout(), "kube-ipvs", version) }

// newBuild returns the facts that the toolchain has written into the binary; info may be nil.
func newBuild(info *debug.BuildInfo) build {
	b := build{Version: version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return b
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	b.GoVersion = cmp.Or(info.GoVersion, b.GoVersion)
	b.Commit, b.CommitTime, b.Modified = settings["vcs.revision"], settings["vcs.time"], settings["vcs.modified"] == "true"
	return b
}
