package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"kube-ipvs/proxier/config"
	"kube-ipvs/test/lib/docs"
)

// described matches a flag in the help of a command: its letter if it has one,
// its name, and what it means.
var described = regexp.MustCompile(`(?m)^ {2,6}(?:-(\w), )?--([\w-]+)(?: \S+)? {2,}(.*)$`)

// docs/configuration.md names every command, and the flags of each that set no
// field of the configuration.
func TestCommandsAreDocumented(t *testing.T) {
	var fields pflag.FlagSet
	new(config.Flags).Add(&fields)
	var rows [][]string
	for _, c := range allCommands() {
		if !c.HasSubCommands() {
			rows = append(rows, rowsOf(t, &fields, strings.TrimPrefix(c.CommandPath(), "kube-ipvs "), c.Short))
		}
	}
	docs.Hold(t, "configuration.md", "commands", docs.Table([]string{"command", "what it does", "flags"}, rows))
}

func rowsOf(t *testing.T, fields *pflag.FlagSet, command, summary string) []string {
	t.Helper()
	row := []string{"`kube-ipvs " + command + "`", summary, ""}
	var out, errw bytes.Buffer
	if code := dispatch(append(strings.Fields(command), "--help"), &out, &errw); code != exitOK {
		t.Fatalf("%s --help: %s", command, errw.String())
	}
	all := described.FindAllStringSubmatch(out.String(), -1)
	if len(all) == 0 && strings.Contains(out.String(), "\nFlags:") {
		t.Fatalf("%s --help describes no flag:\n%s", command, out.String())
	}
	whole := strings.Contains(out.String(), "--config ") // it has all those of run
	var flags []string
	if whole {
		flags = append(flags, "those above, `--config`, `--strict-config`")
	}
	for _, m := range all {
		letter, name, about := m[1], m[2], m[3]
		if whole && fields.Lookup(name) != nil {
			continue
		}
		text := "`--" + name + "`"
		if letter != "" {
			text = "`-" + letter + "`, " + text
		}
		if f := fields.Lookup(name); f == nil || !strings.HasPrefix(about, f.Usage) {
			text += fmt.Sprintf(": %s", about)
		}
		flags = append(flags, text)
	}
	row[2] = strings.Join(flags, "; ")
	return row
}
