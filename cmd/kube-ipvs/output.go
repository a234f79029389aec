package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// output is the standard output of a command. It keeps the first error, since most prints of
// the commands do not look at theirs.
type output struct {
	io.Writer
	err error
}

// Write is part of io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// failure returns the error of a command that has returned err: that of the output, if there
// is one, since err is then the same or a part of the result is missing.
func (o *output) failure(err error) error {
	if o.err == nil {
		return err
	}
	return fmt.Errorf("the output cannot be written: %w", o.err)
}

// closed reports whether the reader of the output has gone, as head does. That is no news to
// the one who started the command.
func (o *output) closed() bool { return errors.Is(o.err, syscall.EPIPE) }
