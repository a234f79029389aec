// Command release makes those files of a release that no compiler makes, of what
// cmd/release/build has built:
//
//	release notes VERSION                      <CHANGELOG.md >FILE
//	release image VERSION WORK DOCKERFILE      >FILE
//	release chart VERSION CHART                >FILE
//	release provenance VERSION FOLDER          >FILE
//
// notes refuses a VERSION that is none, and one that the changelog does not have. The same
// arguments and variables give the same bytes. Variables are
//
//	SOURCE_DATE_EPOCH  the time of every file, in seconds since 1970
//	REVISION           the commit
//	GO_VERSION         the compiler, as go env GOVERSION has it
//	SOURCE             the URL of the repository, if it has one
//	BUILDER            the URI of what builds, such as a workflow's
//	IMAGE              the repository that the image is pushed to, if one is known
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is what all its files have in common.
type release struct {
	version  version
	at       time.Time
	revision string
	compiler string
	source   string
	builder  string
	image    string
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: release notes|image|chart|provenance VERSION [ARGUMENT]")
	}
	verb, rest := args[0], args[2:]
	v, err := parseVersion(args[1])
	if err != nil {
		return err
	}
	if verb == "notes" && len(rest) == 0 {
		return writeNotes(out, in, v)
	}
	r := release{
		version: v, revision: os.Getenv("REVISION"), compiler: os.Getenv("GO_VERSION"),
		source: os.Getenv("SOURCE"), builder: os.Getenv("BUILDER"), image: os.Getenv("IMAGE"),
	}
	if r.at, err = epoch(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	switch {
	case verb == "image" && len(rest) == 2:
		return r.writeImage(out, rest[0], rest[1])
	case verb == "chart" && len(rest) == 1:
		return r.writeChart(out, rest[0])
	case verb == "provenance" && len(rest) == 1:
		return r.writeProvenance(out, rest[0])
	}
	return fmt.Errorf("no such work: %q", args)
}

// epoch reads SOURCE_DATE_EPOCH, without which no two releases would be the same.
func epoch(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(n, 0).UTC(), nil
}
