package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLint(t *testing.T) {
	args := []string{"lint", "--strict", chart}
	for _, file := range sets(t) {
		if out, err := run(t, append(args, "--values", file)...); err != nil {
			t.Errorf("%s: %v%s", file, err, out)
		}
	}
}

// The rendered objects are the reviewed ones, and the program takes the configuration
// in them without a warning.
func TestGolden(t *testing.T) {
	for name, file := range sets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := template(t, slices.Concat(monitoring, []string{"--values", file})...)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata/golden", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("not as golden (go test ./test/suite/chart -update writes it; -want +got):\n%s", diff)
			}
			validate(t, find(t, got, "ConfigMap").Data["config.yaml"])
		})
	}
}

// validate asks the program about a configuration.
func validate(t *testing.T, config string) {
	t.Helper()
	if config == "" {
		t.Fatal("the ConfigMap has no config.yaml")
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "config", "validate", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "warning:") {
		t.Errorf("%v: kube-ipvs says of the configuration:\n%s%s", err, out, config)
	}
}

// The init container tries the same features, and writes the same sysctls, as the main container.
func TestContainersAgree(t *testing.T) {
	out, err := template(t, "--values", "testdata/values/extras.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pod := find(t, out, "DaemonSet").Spec.Template.Spec
	initial, main := pod.InitContainers[0], pod.Containers[0]
	if !slices.Contains(main.Args, "--zone=$(ZONE)") {
		t.Errorf("extraArgs are not among the arguments: %v", main.Args)
	}
	only := slices.Index(initial.Args, "--init-only")
	if only < 0 {
		t.Fatalf("the init container does not end: %v", initial.Args)
	}
	initial.Args = slices.Delete(initial.Args, only, only+1)
	if diff := cmp.Diff(main, initial); diff != "" {
		t.Errorf("the containers differ (-main +init):\n%s", diff)
	}
}

// A pod is made anew when its configuration changes, and only then.
func TestChecksum(t *testing.T) {
	sum := func(args ...string) string {
		out, err := template(t, append(args, "--values", "testdata/values/minimal.yaml")...)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(out, "checksum/config: ")
		if !found {
			t.Fatal("there is no checksum")
		}
		return strings.SplitN(rest, "\n", 2)[0]
	}
	base := sum()
	if again := sum("--set", "cleanup.onUninstall=true"); again != base {
		t.Error("the checksum changes with a value that is not in the configuration")
	}
	if other := sum("--set", "takeover=true"); other == base {
		t.Error("the checksum does not change with the configuration")
	}
}
