package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		args  string // a space at the end begins a new word
		words string // first of those that are proposed
		files bool
	}{
		{"st", "state", false},
		{"config ", "print validate", false},
		{"completion ", "bash zsh fish", false},
		{"plan --cluster-ip", "--cluster-ip-servers", false},
		{"--cluster-ip", "--cluster-ip-servers", false},
		{"--cluster-ip-servers ", "direct image", false},
		{"plan --cluster-ip-servers=", "direct image", false},
		{"run --scheduler ", "rr wrr", false},
		{"run --ipvs-scheduler ", "rr wrr", false},
		{"state -o ", "text json", false},
		{"config print --output ", "yaml json", false},
		{"top --sort ", "active bytes new packets total", false},
		{"cleanup --iptables-backend ", "nft legacy auto", false},
		{"run --zone ", "", false},
		{"run --config ", "", true},
		{"plan --manifests ", "", true},
		{"config validate ", "", true},
		{"top default/web ", "", false},
		{"version ", "", false},
	} {
		args := append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Split(tt.args, " ")...)
		var out, errw bytes.Buffer
		if code := dispatch(args, &out, &errw); code != exitOK {
			t.Errorf("%q: exit code %d: %s", tt.args, code, errw.String())
			continue
		}
		words, directive, _ := strings.Cut(strings.ReplaceAll(out.String(), "\n", " "), ":")
		if words = strings.TrimSpace(words); !strings.HasPrefix(words, tt.words) || tt.words == "" && words != "" {
			t.Errorf("%q: %q, want %q", tt.args, words, tt.words)
		}
		if files := strings.TrimSpace(directive) == "0"; files != tt.files {
			t.Errorf("%q: directive %s", tt.args, directive)
		}
	}
}

// Each shell takes its script.
func TestCompletionScripts(t *testing.T) {
	for shell, check := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		var out, errw bytes.Buffer
		if code := dispatch([]string{"completion", shell}, &out, &errw); code != exitOK || !strings.Contains(out.String(), cobra.ShellCompRequestCmd) {
			t.Fatalf("%s: exit code %d: %s%s", shell, code, errw.String(), out.String())
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not here to read its script", shell)
			continue
		}
		c := exec.CommandContext(t.Context(), path, check)
		c.Stdin = &out
		if said, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", shell, err, said)
		}
	}
}

// Without a SHELL, or with another one, it names those that it has.
func TestCompletionNamesItsShells(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"completion", "name a SHELL: bash, zsh, fish"},
		{"completion csh", `"csh" is none of bash, zsh, fish`},
		{"completion bash zsh", `one at a time: "zsh" is too much`},
	} {
		var out, errw bytes.Buffer
		if code := dispatch(strings.Fields(tt.args), &out, &errw); code != exitUsage || out.Len() > 0 || !strings.Contains(errw.String(), tt.says) {
			t.Errorf("%s: exit code %d: %s%s", tt.args, code, errw.String(), out.String())
		}
	}
}
