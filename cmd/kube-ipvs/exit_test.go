package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"kube-ipvs/test/lib/docs"
)

// allCommands returns every command that the help lists, in its order, with groups before theirs.
func allCommands() []*cobra.Command {
	var all []*cobra.Command
	var add func(c *cobra.Command)
	add = func(c *cobra.Command) {
		all = append(all, c)
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				add(sub)
			}
		}
	}
	add(newRoot())
	return all
}

// pathOf returns the arguments that name a command.
func pathOf(c *cobra.Command) []string { return strings.Fields(c.CommandPath())[1:] }

// docs/configuration.md has one table of exit codes, for all commands.
func TestExitCodesAreDocumented(t *testing.T) {
	var rows [][]string
	for _, e := range exitCodes {
		rows = append(rows, []string{fmt.Sprint(e.code), e.word, e.means})
	}
	docs.Hold(t, "configuration.md", "exit codes", docs.Table([]string{"exit code", "", ""}, rows))
}

// Every command names the exit codes in its help, and has the same ones for the same faults.
func TestCommandsShareTheirExitCodes(t *testing.T) {
	for _, c := range allCommands() {
		path := pathOf(c)
		for _, tt := range []struct {
			args []string
			code int
			says string // on standard output or standard error
		}{
			{[]string{"--help"}, exitOK, "Exit codes: 0 success, 1 failure, 2 differences, 64 wrong usage.\n"},
			{[]string{"--no-such-flag"}, exitUsage, "unknown flag: --no-such-flag"},
			{[]string{"x", "y", "z"}, exitUsage, c.CommandPath() + ": "},
		} {
			if !c.HasParent() && tt.code == exitUsage && strings.HasPrefix(tt.args[0], "-") {
				continue // these are flags of run
			}
			var out, errw bytes.Buffer
			if code := dispatch(append(path, tt.args...), &out, &errw); code != tt.code || !strings.Contains(out.String()+errw.String(), tt.says) {
				t.Errorf("%s %s: exit code %d, want %d; it printed %s%s", c.CommandPath(), tt.args, code, tt.code, out.String(), errw.String())
			}
		}
	}
}
