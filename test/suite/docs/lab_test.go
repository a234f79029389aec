package docs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kube-ipvs/test/lib/docs"
)

const nodeScript = `set -e
ip link set lo up
ip link add up0 type veth peer name up1
ip addr add 192.168.50.1/24 dev up0
ip addr add 10.244.0.11/32 dev up0
ip link set up0 up
ip link set up1 up
ip route add default via 192.168.50.2`

const nodeConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
hostnameOverride: node
enableProfiling: true
---
apiVersion: kube-ipvs/v1alpha1
kind: KubeIPVSConfiguration
manifests: [%q]
`

// The commands of docs/operations.md work on a node that serves examples/: all in
// blocks, and those of the table of objects on a node. None of them fails, and each of
// the table prints its objects.
func TestCommandsWork(t *testing.T) {
	binary := os.Getenv("KUBE_IPVS_BINARY")
	if os.Getenv("KUBE_IPVS_LAB") == "" {
		t.Skip("it needs the lab, where IPVS is real: make lab-test")
	}
	n := startNode(t, binary)
	blocks, shown := tried(t)
	if len(blocks) < 20 || len(shown) < 10 {
		t.Fatalf("%d and %d commands were found, and there are more", len(blocks), len(shown))
	}
	for _, c := range append(shown, blocks...) {
		out, err := n.try(c)
		switch {
		case err != nil:
			t.Errorf("%s: %v\n%s", c, err, out)
		case slices.Contains(shown, c) && strings.TrimSpace(out) == "":
			t.Errorf("%s shows nothing", c)
		}
	}
	n.stop()
	if out, err := n.try(cleanup); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// iptables-save warns of legacy tables, which kernels as 5.10 with all built in always have.
	if out, err := n.try("ipset list -n; ipvsadm -Sn; ip route show table local proto 77; iptables-save 2>/dev/null | grep KIPVS; ip -o link | grep kube-ipvs0"); err != nil || out != "" {
		t.Errorf("%v: cleanup left\n%s", err, out)
	}
}

var (
	tools = regexp.MustCompile(`^(kube-ipvs|curl|kill|sysctl|ip|ip6tables-save|iptables(-nft|-legacy)?(-save)?|ipset|ipvsadm|conntrack|ss|cat) `)
	// remark is a block's remark about its commands.
	remark = regexp.MustCompile(`\s+#.*$`)
)

// cleanup is tried last.
const cleanup = "kube-ipvs cleanup"

// tried returns the commands to run: those of blocks, and of the table that says how
// to see the objects on a node.
func tried(t *testing.T) (blocks, shown []string) {
	t.Helper()
	for _, p := range docs.Pages(t) {
		if p.Path != "docs/operations.md" {
			continue
		}
		table := false
		p.Block(func(line string, code bool) {
			table = strings.HasPrefix(line, "|") && (table || strings.HasPrefix(line, "| what | how to see it |"))
			switch {
			case code && line != "":
				c := remark.ReplaceAllString(strings.TrimSpace(line), "")
				if tools.MatchString(c) && c != cleanup {
					blocks = append(blocks, c)
				}
			case table:
				for _, m := range docs.Span.FindAllStringSubmatch(line, -1) {
					if c := strings.ReplaceAll(m[1], `\|`, "|"); tools.MatchString(c) {
						shown = append(shown, c)
					}
				}
			}
		})
	}
	return blocks, shown
}

// node is a node with a running kube-ipvs.
type node struct {
	cmd    *exec.Cmd
	config string
	log    bytes.Buffer
}

func startNode(t *testing.T, binary string) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{config: filepath.Join(dir, "config.yaml")}
	if err := os.Symlink(binary, filepath.Join(dir, "kube-ipvs")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	text := fmt.Sprintf(nodeConfig, filepath.Join(docs.Root(t), "examples"))
	if err := os.WriteFile(n.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := n.try(nodeScript); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pod := &http.Server{Addr: "10.244.0.11:8080", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = pod.ListenAndServe() }()
	t.Cleanup(func() { _ = pod.Close() })

	n.cmd = exec.Command(binary, "run", "--config", n.config)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.stop()
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := ask("curl http://127.0.0.1:10256/readyz"); err == nil {
			return n
		} else if time.Now().After(deadline) {
			t.Fatalf("it does not become ready: %v", err)
		}
	}
}

func (n *node) stop() {
	_ = n.cmd.Process.Signal(os.Interrupt)
	_ = n.cmd.Wait() // an error if it has ended before
}

// try runs a command of the text with the placeholders replaced.
func (n *node) try(command string) (string, error) {
	if n.cmd != nil {
		command = strings.ReplaceAll(command, "PID", strconv.Itoa(n.cmd.Process.Pid))
	}
	command = strings.ReplaceAll(command, "FILE", n.config)
	if strings.HasPrefix(command, "curl ") {
		return ask(command)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", command).CombinedOutput()
	if strings.Contains(command, "| grep ") && err != nil && len(bytes.TrimSpace(out)) <= len("0") {
		err = nil // nothing found is an answer
	}
	return string(out), err
}

var url = regexp.MustCompile(`http://\S+`)

// ask does the work of curl, which may not be installed.
func ask(command string) (string, error) {
	method, body := http.MethodGet, ""
	if _, after, ok := strings.Cut(command, "-X PUT -d "); ok {
		method, body = http.MethodPut, strings.Fields(after)[0]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url.FindString(command), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", answer.Status)
	}
	return string(text), err
}
