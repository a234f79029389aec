package life

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"kube-ipvs/netutil"
	"kube-ipvs/test/lib/docs"
	"kube-ipvs/test/lib/pod"
)

// A machine on which no module is loaded that kube-ipvs needs: the first start
// brings them all, the second one writes nothing, and cleanup leaves no trace. Each
// of the ways to start needs a fresh machine, and the machine's own network.
func TestFresh(t *testing.T) {
	fresh(t)
	for name, way := range map[string]func(*node){
		"host": func(*node) {}, "unprivileged": (*node).unprivileged, "nft": func(n *node) { n.contain("nft") }, "legacy": func(n *node) { n.contain("legacy") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newMachine(t)
			documentedModules(t)
			n.enrich()
			links, before := n.links(), readSysctls(t)
			way(n)
			modules := readModules(t)
			d := n.start()
			if r := d.first(); r.Failed != 0 {
				t.Errorf("%d writes of the first round failed", r.Failed)
			}
			n.settled()
			during := n.snapshot()
			notVain(n, during)
			if now := readModules(t); (name == "nft" || name == "legacy") && !slices.Equal(now, modules) {
				t.Errorf("the main container has had modules loaded that the init container has not (-init +main):\n%s", cmp.Diff(modules, now))
			}
			d.stop()
			d = n.start()
			d.wroteNothing()
			d.stop()
			n.same("a restart has changed the node", during, n.snapshot())
			if n.cleanup() == 0 {
				t.Error("cleanup removed nothing")
			}
			n.same("after cleanup the machine is not as one that is new", newNode(t, "image").snapshot(), n.snapshot())
			if got := n.links(); got != links {
				t.Errorf("the links are %s, and were %s", got, links)
			}
			before.kept(t)
		})
	}
}

// documentedModules enters the command of docs/install.md that looks for modules, which the kernels
// of make test-kernels have all.
func documentedModules(t *testing.T) {
	t.Helper()
	for _, c := range docs.Commands(t, "install.md", "What it takes") {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", c).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
	}
}

// readModules names the modules that are loaded, but schedulers, which Services name.
func readModules(t *testing.T) []string {
	t.Helper()
	out, err := filepath.Glob("/sys/module/*/initstate")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(out, func(s string) bool { return strings.HasPrefix(s, "/sys/module/ip_vs_") })
}

// fresh skips a test that wants a machine on which nothing is loaded, where it is none.
func fresh(t *testing.T) {
	t.Helper()
	if os.Getenv("KUBE_IPVS_FRESH") == "" {
		t.Skip("it needs a machine on which nothing is loaded: make test-kernels")
	}
	for _, module := range []string{"ip_vs", "ip_set", "x_tables", "dummy"} {
		if _, err := os.Stat("/sys/module/" + module); err == nil {
			t.Fatalf("%s is loaded already", module)
		}
	}
}

// newMachine returns a node that is not a namespace of its own, but the machine.
func newMachine(t *testing.T) *node {
	t.Helper()
	return newNodeBy(t, "attach", "image", "address")
}

// links names all links. The kernel makes a dummy0 with the module of dummies.
func (n *node) links() string {
	n.t.Helper()
	out := strings.Fields(n.sh("ls /sys/class/net"))
	return strings.Join(slices.DeleteFunc(out, func(s string) bool { return s == "dummy0" }), " ")
}

// sysctls are the values of those of the network.
type sysctls map[string]string

func readSysctls(t *testing.T) sysctls {
	t.Helper()
	out := sysctls{}
	err := filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if text, err := os.ReadFile(path); err == nil { // some can only be written
			out[strings.ReplaceAll(strings.TrimPrefix(path, "/proc/sys/"), "/", ".")] = strings.TrimSpace(string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kept checks that each that has another value now is one of those of which the
// documentation says that they stay.
func (s sysctls) kept(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, said, _ := strings.Cut(string(page), "### Sysctls\n")
	said, _, _ = strings.Cut(said, "\n#")
	for name, now := range readSysctls(t) {
		if was, ok := s[name]; ok && was != now && !follows.MatchString(name) && !strings.Contains(said, name) {
			t.Errorf("%s is %s, and was %s, of which docs/operations.md says nothing", name, now, was)
		}
	}
}

// follows are sysctls that the kernel changes by itself: those of each link with
// those of all, the settings of ip_forward, other names, and counters.
var follows = regexp.MustCompile(`^net\.ipv[46]\.(conf|neigh)\.(default|lo|eth0|peer|dummy0)\.|^net\.ipv4\.conf\.all\.(forwarding|accept_redirects)$|^net\.nf_conntrack_max$|_conntrack_count$`)

// unprivileged has kube-ipvs run without CAP_SYS_MODULE, and so without having modules
// loaded by their names. Before Linux 5.16 IPVS is loaded by a rule of iptables then.
func (n *node) unprivileged() {
	n.prefix = []string{"setpriv", "--bounding-set=-sys_module", "--inh-caps=-sys_module"}
}

// contain has kube-ipvs run in the image's files as the chart's main container does,
// after its init container.
func (n *node) contain(backend string) {
	n.t.Helper()
	chart, err := pod.ReadChart("../chart/testdata/golden/minimal.yaml")
	if err != nil {
		n.t.Fatal(err)
	}
	image := filepath.Join(n.tmp, "image")
	if out, err := exec.Command("cp", "-a", os.Getenv("KUBE_IPVS_ROOTFS"), image).CombinedOutput(); err != nil {
		n.t.Fatalf("copy the image: %v: %s", err, out)
	}
	n.flags = append(n.flags, "--config", "/etc/kube-ipvs/config.yaml", "--iptables-backend", backend)
	n.enter(chart, image, chart.Spec.InitContainers[0])
	// A kubelet starts it again, too: a tool that has the kernel load modules may come
	// to the end of its time in an emulator. The modules loaded by then stay.
	for tries := 3; ; tries-- {
		said, code := n.kube(append(n.run(), "--init-only")...)
		if code == 0 {
			break
		}
		if tries == 1 || !strings.Contains(said, "did not end within") {
			n.t.Fatalf("the init container ended with exit code %d: %s", code, said)
		}
		n.t.Logf("the init container is started again: %s", said)
	}
	if netutil.HasIPv6() { // the network plugin's business, where the container may not
		n.sh("sysctl -qw net.ipv6.conf.all.forwarding=1")
	}
	n.enter(chart, image, chart.Spec.Containers[0])
}

// enter runs the commands of kube-ipvs run in a container.
func (n *node) enter(chart pod.Chart, image string, c corev1.Container) {
	n.t.Helper()
	inside, err := chart.Script(n.tmp, image, n.dir, c)
	if err != nil {
		n.t.Fatal(err)
	}
	script := filepath.Join(n.tmp, "enter")
	n.write(script, fmt.Sprintf("#!/bin/sh\nshift # the program's name\nexec %s \"$@\"\n", inside))
	if err := os.Chmod(script, 0o700); err != nil {
		n.t.Fatal(err)
	}
	n.prefix = []string{script}
}
