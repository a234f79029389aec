package testbed

import (
	"fmt"
	"testing"
)

// Long skips a test that takes a minute or more with -test.short, as `make test` gives it, and says
// by what it is played.
func Long(t *testing.T, played string) {
	t.Helper()
	if testing.Short() {
		fmt.Printf("%s is skipped, since it takes a minute or more: %s\n", t.Name(), played)
		t.SkipNow()
	}
}
