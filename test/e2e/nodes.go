package e2e

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/template"

	"kube-ipvs/test/lib/testbed"

	"golang.org/x/sys/unix"
)

//go:embed guest templates
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*"))

// nodeFiles writes the files that the nodes' kernel runs and their programs read.
func (c *Cluster) nodeFiles() error {
	var errs []error
	for _, script := range []string{"machine", "node", "agent"} {
		text, err := files.ReadFile("guest/" + script)
		errs = append(errs, err, testbed.WriteScript(c.path("conf", script), string(text)))
	}
	errs = append(errs, c.settings())
	pause, err := TestImages("pause")
	if err != nil {
		return err
	}
	for _, name := range c.names() {
		errs = append(errs, c.plugins(name),
			c.render("kubelet.yaml", c.path("conf", name, "kubelet.yaml"), map[string]any{"DNS": dnsService4}),
			c.render("containerd.toml", c.path("conf", name, "containerd.toml"), map[string]any{"Pause": pause[0], "Plugins": "/mnt/cluster/conf/" + name + "/cni"}))
	}
	return errors.Join(errs...)
}

func (c *Cluster) render(name, path string, data any) error {
	var out strings.Builder
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

// settings writes the variables of the guest's scripts.
func (c *Cluster) settings() error {
	var out strings.Builder
	for _, v := range [][2]string{
		{"nodes", fmt.Sprint(c.Nodes)}, {"dual", fmt.Sprint(c.DualStack)},
		{"prefix4", prefix4}, {"prefix6", prefix6}, {"pods4", pods4}, {"pods6", pods6}, {"machine4", machine4},
		{"programs", os.Getenv(programsVariable)}, {"peers", os.Getenv(peersVariable)}, {"images", os.Getenv(imagesVariable)},
	} {
		fmt.Fprintf(&out, "%s='%s'\n", v[0], v[1])
	}
	return os.WriteFile(c.path("conf", "settings"), []byte(out.String()), 0o644)
}

// plugins writes the list of network plugins that give a node's pods their network.
func (c *Cluster) plugins(name string) error {
	var ranges [][]map[string]string
	routes := []map[string]string{{"dst": "0.0.0.0/0"}}
	for _, cidr := range c.podCIDRs(name) {
		ranges = append(ranges, []map[string]string{{"subnet": cidr}})
	}
	if c.DualStack {
		routes = append(routes, map[string]string{"dst": "::/0"})
	}
	first := map[string]any{"type": c.Plugin, "ipMasq": false, "mtu": 1500, "ipam": map[string]any{
		"type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": routes}}
	if c.Plugin == "bridge" {
		first["bridge"], first["isGateway"], first["hairpinMode"] = "cni0", true, true
	}
	text, err := json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": "e2e", "plugins": []any{
		first, map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}}}, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(c.path("conf", name, "cni"), 0o755), os.WriteFile(c.path("conf", name, "cni", "10-e2e.conflist"), text, 0o644))
}

// machineName is the nodes' kernel among the programs, and in the names of logs.
const machineName = "kernel"

// startMachine boots the kernel that the nodes are in. It stays on one CPU, the last,
// since its processes wait for each other at every system call.
func (c *Cluster) startMachine() error {
	cpu, err := lastCPU()
	if err != nil {
		return err
	}
	cmd := exec.Command("taskset", "-c", fmt.Sprint(cpu), os.Getenv(kernelVariable),
		"umid=e2e", "uml_dir="+c.path("machine")+"/", "mem="+c.Memory, "seccomp=auto",
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init="+c.path("conf", "machine"), "cluster_dir="+c.Dir,
		"vec0:transport=tap,ifname="+tap, "con=null", "con0=null,fd:2", "panic=-1")
	// Its memory is a file, which is faster in memory.
	cmd.Env = append(os.Environ(), "TMPDIR=/dev/shm")
	return c.run(machineName, cmd)
}

func lastCPU() (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, os.NewSyscallError("sched_getaffinity", err)
	}
	last := 0
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			last = i
		}
	}
	return last, nil
}

func quoted(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, fmt.Sprintf("%q", w))
	}
	return strings.Join(out, ",")
}
