package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// printing has the commands that print on any machine.
func printing() [][]string {
	all := [][]string{{"version"}, {"--version"}, {"run", "--version"}, {"config", "print"}, {"config", "print", "-o", "json"}, {"help", "top"}}
	for _, c := range allCommands() {
		all = append(all, append(pathOf(c), "--help"))
	}
	return all
}

// A command whose output cannot be written fails, and says so.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range printing() {
		var errw bytes.Buffer
		if code := dispatch(args, full, &errw); code != exitFailed || !strings.Contains(errw.String(), "the output cannot be written: write /dev/full: no space left on device\n") {
			t.Errorf("%q: exit code %d; it said %q", args, code, errw.String())
		}
	}
}

// A command whose reader has gone says nothing.
func TestClosedOutput(t *testing.T) {
	for _, args := range printing() {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		var errw bytes.Buffer
		if code := dispatch(args, write, &errw); code != exitFailed || errw.Len() > 0 {
			t.Errorf("%q: exit code %d; it said %q", args, code, errw.String())
		}
		_ = write.Close()
	}
}
