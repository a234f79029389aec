// Command images writes the archive of all images that nodes of test/e2e are given: those
// that upstream's tests ask for, made of what test/e2e/build has built and of programs
// of this machine; CoreDNS; and kube-ipvs, of the files that make image-rootfs makes, as the
// Dockerfile says to run it. -life adds those of test/e2e/life, and -previous an older
// kube-ipvs, of such files.
//
// usage: images [-life LOAD] [-previous ROOT] DOCKERFILE ROOT ARCHIVE
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kube-ipvs/test/e2e"
)

// image is one of the archive, by all its names.
type image struct {
	names  []string
	config config
	make   func(root string) error
}

// config is how it is to be run: the part of the OCI image configuration that is used here.
type config struct {
	Entrypoint []string `json:",omitempty"`
	Cmd        []string `json:",omitempty"`
	Env        []string `json:",omitempty"`
	User       string   `json:",omitempty"`
}

func main() {
	load := flag.String("life", "", "the program test/e2e/load/cmd")
	previous := flag.String("previous", "", "the files of an older kube-ipvs")
	flag.Parse()
	if flag.NArg() != 3 {
		fmt.Fprintln(os.Stderr, "usage: images [-life LOAD] [-previous ROOT] DOCKERFILE ROOT ARCHIVE")
		os.Exit(64)
	}
	if err := run(flag.Arg(0), flag.Arg(1), flag.Arg(2), *load, *previous); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(dockerfile, root, archive, load, previous string) error {
	product, err := readDockerfile(dockerfile)
	if err != nil {
		return err
	}
	images := []image{
		{names: []string{e2e.KubeIPVSImage}, config: product, make: func(to string) error { return copyTree(root, to) }},
		{names: []string{e2e.CoreDNSImage}, config: config{Entrypoint: []string{"/coredns"}}, make: program("coredns")},
	}
	if load != "" {
		images = append(images,
			image{names: []string{e2e.LoadImage}, config: config{Entrypoint: []string{"/load"}}, make: func(to string) error { return install(load, to, "/load") }},
			image{names: []string{e2e.KubeProxyImage}, config: config{Entrypoint: []string{"/kube-proxy"}, Env: paths}, make: kubeProxy})
	}
	if previous != "" {
		images = append(images, image{names: []string{e2e.PreviousImage}, config: product, make: func(to string) error { return copyTree(previous, to) }})
	}
	for base, i := range map[string]image{
		"agnhost":                {config: config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Env: paths}, make: agnhost},
		"busybox":                {config: config{Cmd: []string{"sh"}, Env: paths}, make: busybox},
		"pause":                  pauseImage,
		"regression-issue-74839": {config: config{Entrypoint: []string{"/regression-issue-74839"}}, make: program("regression-issue-74839")},
		"distroless-iptables":    {config: config{Cmd: []string{"sh"}, Env: paths}, make: agnhost},
		"glibc-dns-testing":      {config: config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Env: paths}, make: agnhost},
	} {
		if i.names, err = e2e.TestImages(base); err != nil {
			return err
		}
		images = append(images, i)
	}
	return writeArchive(archive, images)
}

var pauseImage = image{config: config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, make: pause}

var paths = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// program makes an image of one static program.
func program(name string) func(string) error {
	return func(root string) error { return install(e2e.Program(name), root, "/"+name) }
}

// agnhost has the tools that tests call in it, and an image that it serves as a registry.
// Its shell is not busybox's, which takes its own commands for them, and its wget neither,
// which dies of looking a name up with libraries that are not its own.
func agnhost(root string) error {
	if err := busybox(root); err != nil {
		return err
	}
	for _, name := range []string{"bash", "curl", "wget", "nc", "dig", "ip", "ss", "nsenter", "iperf", "conntrack", "getent"} {
		if err := tool(root, name); err != nil {
			return err
		}
	}
	for _, name := range []string{"agnhost", "localhost.crt", "localhost.key"} {
		if err := install(e2e.Program(name), root, "/"+name); err != nil {
			return err
		}
	}
	// Not the same image as the one that nodes have: a kubelet that has pulled an image
	// under one name pulls it under all others too (KEP-2535), and no registry has those.
	served := pauseImage
	served.config.Env = paths
	if err := registry(root, "pause", "testing", served); err != nil {
		return err
	}
	shell := filepath.Join(root, "bin/sh")
	return errors.Join(os.Remove(shell), os.Symlink("/usr/bin/bash", shell), os.Symlink("agnhost", filepath.Join(root, "agnhost-2")))
}

// busybox has all its commands by their names, and those who may run them.
func busybox(root string) error {
	for _, dir := range []string{"etc", "dev", "proc", "run", "sys", "tmp", "root", "uploads", "bin", "sbin", "usr/bin", "usr/sbin", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), os.ModeSticky|0o777); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
		"group":         "root:x:0:\nnogroup:x:65534:\n",
		"nsswitch.conf": "hosts: files dns\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	path, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := install(path, root, "/bin/busybox"); err != nil {
		return err
	}
	out, err := exec.Command(path, "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// kubeProxy has the program, and the iptables that it starts with all its extensions.
func kubeProxy(root string) error {
	for _, dir := range []string{"etc", "run", "tmp", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore", "ipset", "nft"} {
		if err := tool(root, name); err != nil {
			return err
		}
	}
	// ipset finds the numbers of protocols there.
	if err := install("/etc/protocols", root, "/etc/protocols"); err != nil {
		return err
	}
	extensions, err := filepath.Glob("/usr/lib/*/xtables/*.so")
	if err != nil {
		return err
	}
	for _, path := range extensions {
		if err := errors.Join(install(path, root, path), libraries(root, path)); err != nil {
			return err
		}
	}
	return install(e2e.Peer("kube-proxy"), root, "/kube-proxy")
}

// pause waits for its end, and for children that others have left to it.
func pause(root string) error {
	const source = `#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { _exit(0); }
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }
`
	file := filepath.Join(root, "pause.c")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		return err
	}
	out, err := exec.Command("gcc", "-static", "-Os", "-s", "-o", filepath.Join(root, "pause"), file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("gcc: %w: %s", err, out)
	}
	return os.Remove(file)
}
