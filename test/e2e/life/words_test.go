package life

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kube-ipvs/test/e2e"
	"kube-ipvs/test/lib/docs"
)

// played are the commands of the documentation that tests have run, by file and heading.
var played = map[string]map[string]bool{}

// unplayed are those that are not, with the reason.
var unplayed = map[string]string{
	"install.md: The image":                      "there is no container engine here: cmd/image/rootfs makes the image of the same list",
	"install.md: Kernel modules":                 "the kernel of these nodes has no modules; make test-kernels plays some that have",
	"install.md: What it takes":                  "the kernel of these nodes has no modules; make test-kernels plays it where there are some",
	"install.md: Metrics":                        "the kinds of the Prometheus operator are not known to this cluster; make test-chart plays it",
	"migrate.md: From mode ipvs: rules in INPUT": "make compare plays what rules there do",
	"migrate.md: kubespray":                      "there is no kubespray here",
	"migrate.md: RKE2":                           "there is no RKE2 here",
}

// commands returns those of a section of a file of docs/, and takes them for played.
func commands(t *testing.T, file, heading string) []string {
	t.Helper()
	where, steps := file+": "+heading, docs.Commands(t, file, heading)
	if played[where] == nil {
		played[where] = map[string]bool{}
	}
	for _, c := range steps {
		played[where][c] = true
	}
	return steps
}

// desk is the folder where tests enter commands of the documentation: it has the files
// that these name. Nodes have it as deskOfNode.
func desk() string { return filepath.Join(cluster.Dir, "desk") }

const deskOfNode = "/mnt/cluster/desk"

// layDesk fills it: the chart, values.yaml and kube-proxy's config.conf.
func layDesk(t *testing.T, values map[string]any, config string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(desk(), "bin"), 0o755))
	text, err := yaml.Marshal(values)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(desk(), "values.yaml"), text, 0o644))
	must(t, os.WriteFile(filepath.Join(desk(), "config.conf"), []byte(config), 0o644))
	credentials, err := os.ReadFile(cluster.Kubeconfig())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(desk(), "admin.conf"), credentials, 0o600))
	for name, to := range map[string]string{
		"charts": filepath.Dir(chart), "bin/kubectl": e2e.Program("kubectl"), "bin/helm": os.Getenv("KUBE_IPVS_HELM"), "bin/kube-ipvs": binary,
	} {
		if err := os.Symlink(to, filepath.Join(desk(), name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

// enter runs a command of the documentation as it stands there, with the placeholders
// replaced. It runs commands for a node on the node.
func enter(t *testing.T, command string, names ...string) string {
	t.Helper()
	command = strings.NewReplacer(names...).Replace(command)
	if strings.HasPrefix(command, "kube-ipvs ") || strings.HasPrefix(command, "until ") {
		if strings.HasPrefix(command, "kube-ipvs plan ") {
			command += "; test $? = 2" // there is something to do
		}
		var said []string
		for _, node := range nodes {
			said = append(said, on(t, node, "cd %s && PATH=$PWD/bin:$PATH && %s", deskOfNode, command))
		}
		return strings.Join(said, "\n")
	}
	cmd := exec.Command("bash", "-ec", command)
	cmd.Dir = desk()
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(), "PATH="+filepath.Join(desk(), "bin")+":"+os.Getenv("PATH"))
	out, err := output(cmd)
	must(t, err)
	t.Logf("$ %s", command)
	return out
}

// values are the values that docs/install.md asks for, for this cluster, and its
// images.
func values(t *testing.T) map[string]any {
	t.Helper()
	repository, tag, _ := strings.Cut(e2e.KubeIPVSImage, ":")
	idle, err := e2e.TestImages("pause")
	must(t, err)
	tests, err := e2e.TestImages("busybox")
	must(t, err)
	return map[string]any{
		"image":   map[string]any{"repository": repository, "tag": tag},
		"cleanup": map[string]any{"idleImage": idle[0]},
		"tests":   map[string]any{"image": tests[0]},
	}
}

// TestEveryCommand is the last: a test has entered each command of docs/install.md and
// docs/migrate.md, or unplayed gives the reason.
func TestEveryCommand(t *testing.T) {
	if !all() {
		t.Skip("some tests were not run")
	}
	for _, file := range []string{"install.md", "migrate.md"} {
		for _, s := range docs.Sections(t, file) {
			where := file + ": " + s.Heading
			reason, not := unplayed[where]
			for _, c := range s.Commands {
				if not {
					t.Logf("%s: not played, %s: %s", where, reason, c)
				} else if !played[where][c] {
					t.Errorf("%s: no test enters %s", where, c)
				}
			}
		}
	}
	for where := range unplayed {
		if file, heading, _ := strings.Cut(where, ": "); played[where] != nil {
			t.Errorf("%s: %s is played", file, heading)
		}
	}
}

// all says whether all tests are to run.
func all() bool {
	run := flag.Lookup("test.run").Value.String()
	return run == "" || run == "."
}
