package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const skipVariable = "KUBE_IPVS_TEST_SKIP_ALL"

func TestMain(m *testing.M) {
	if why := os.Getenv(skipVariable); why != "" {
		SkipAll(m, why)
	}
	os.Exit(m.Run())
}

// Tests that cannot run are told one by one, as go test runs them.
func TestSkipAll(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.v", "-test.paniconexit0", "-test.testlogfile="+filepath.Join(t.TempDir(), "log"))
	cmd.Env = append(os.Environ(), skipVariable+"=no bed")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- SKIP: TestSkipAll") || !strings.Contains(string(out), "no bed") {
		t.Errorf("%v:\n%s", err, out)
	}
}
