package main

import (
	"errors"
	"fmt"
	"strings"
)

// The exit codes of every command. exitCodes says what each means.
const (
	exitOK          = 0
	exitFailed      = 1
	exitDifferences = 2
	exitUsage       = 64
)

// exitCodes is the table of docs/configuration.md, with a word for the help of each command.
var exitCodes = []struct {
	code        int
	word, means string
}{
	{exitOK, "success", "the command has done its work; `plan` and `explain`: no object differs"},
	{exitFailed, "failure", "it could not, as when the kernel or the API server gives no answer, `explain` finds no such Service or address, `top` no such Service, or the file of `config validate` has errors"},
	{exitDifferences, "differences", "`plan` and `explain` alone: some objects differ from the desired ones"},
	{exitUsage, "wrong usage", "an unknown command or flag, a wrong argument, or flags and a configuration that cannot be used: nothing was done"},
}

// exitText is the line about exit codes in the help of each command.
func exitText() string {
	var all []string
	for _, e := range exitCodes {
		all = append(all, fmt.Sprintf("%d %s", e.code, e.word))
	}
	return "Exit codes: " + strings.Join(all, ", ") + "."
}

// errDifferences says that a command has succeeded, and has printed differences.
var errDifferences = errors.New("some objects differ")

// usageError is a fault of the arguments or of the configuration.
type usageError struct{ error }

// Unwrap makes the cause visible to errors.Is.
func (e *usageError) Unwrap() error { return e.error }

// usage makes err a usageError, unless it is nil.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// exitCode returns the exit code of a command that has returned err.
func exitCode(err error) int {
	var wrong *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDifferences):
		return exitDifferences
	case errors.As(err, &wrong):
		return exitUsage
	}
	return exitFailed
}
