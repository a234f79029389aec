package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Main is TestMain of a package whose tests need the lab. There it prepares, plays the
// tests, and undoes the preparation, however far that came. Elsewhere each test is
// skipped with the command that plays it. It does not return.
func Main(m *testing.M, command string, prepare func(context.Context) error, end func()) {
	if os.Getenv("KUBE_IPVS_LAB") == "" {
		SkipAll(m, "it needs the lab, where IPVS is real: "+command)
	}
	code, err := 1, prepare(context.Background())
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	end()
	os.Exit(code)
}

// SkipAll skips each test of a package that cannot be prepared here, and says why, for
// `go test -v` and -json to show. Its benchmarks and fuzz tests are left out. It does not return.
func SkipAll(m *testing.M, why string) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	tests, err := skipped(why)
	// go test keeps results by the files that tests read, which testing.Main cannot tell.
	if err = errors.Join(err, flag.Set("test.testlogfile", "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testing.Main(func(pattern, name string) (bool, error) { return regexp.MatchString(pattern, name) }, tests, nil, nil)
}

// skipped returns tests of the names of this program's, each of which skips itself.
func skipped(why string) (tests []testing.InternalTest, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	list := exec.Command(self, "-test.list=^Test")
	out, err := list.Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list the tests: %w", err), errors.New(string(out)))
	}
	for name := range strings.FieldsSeq(string(out)) {
		tests = append(tests, testing.InternalTest{Name: name, F: func(t *testing.T) { t.Skip(why) }})
	}
	return tests, nil
}
