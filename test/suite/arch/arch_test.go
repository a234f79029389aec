// Package arch tests which package may know of which: the shape of the
// program, as proxier/doc.go draws it.
package arch

import (
	"os/exec"
	"strings"
	"testing"
)

// rules lists for each package the packages that it must not depend on, also
// indirectly. A name that ends with / stands for all packages below it, but not for the
// package itself and those below that. Each may know of common.
var rules = map[string][]string{
	"netutil":             {"kube-ipvs/", "k8s.io/"},
	"netutil/ipfamily":    {"kube-ipvs/", "k8s.io/", "github.com/", "golang.org/"},
	"netutil/iptables":    {"kube-ipvs/", "k8s.io/", "github.com/", "golang.org/"}, // rules as text, for those who may not know of netutil, too
	"ipset":               {"kube-ipvs/proxier/", "k8s.io/"},
	"proxier/state":       {"kube-ipvs/", "k8s.io/", "github.com/", "golang.org/"},
	"proxier/model":       {"k8s.io/client-go/", "kube-ipvs/proxier/state", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset", "github.com/vishvananda/"},
	"proxier/desired":     {"k8s.io/client-go/", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset", "github.com/vishvananda/"},
	"proxier/explain":     {"k8s.io/client-go/", "kube-ipvs/proxier", "kube-ipvs/proxier/source", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset", "github.com/vishvananda/"},
	"proxier/source":      {"kube-ipvs/proxier/state", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset", "github.com/vishvananda/"},
	"proxier/kernel":      {"k8s.io/", "kube-ipvs/proxier/model", "kube-ipvs/proxier/desired", "kube-ipvs/proxier/source"},
	"proxier/health":      {"kube-ipvs/proxier"},
	"proxier/metrics":     {"kube-ipvs/proxier", "kube-ipvs/proxier/health"},
	"proxier/status":      {"kube-ipvs/proxier"},
	"proxier/traffic":     {"kube-ipvs/proxier", "kube-ipvs/proxier/health", "kube-ipvs/proxier/metrics"},
	"proxier/checks":      {"kube-ipvs/proxier", "kube-ipvs/proxier/model", "kube-ipvs/proxier/desired", "kube-ipvs/proxier/source", "k8s.io/"},
	"proxier/sweeper":     {"kube-ipvs/proxier", "kube-ipvs/proxier/source", "k8s.io/client-go/"},
	"proxier/eject":       {"kube-ipvs/proxier", "kube-ipvs/proxier/source", "kube-ipvs/proxier/cluster", "kube-ipvs/proxier/ledger"},
	"proxier/cluster":     {"kube-ipvs/proxier", "kube-ipvs/proxier/ledger", "kube-ipvs/proxier/checks", "kube-ipvs/proxier/sweeper"},
	"proxier/journal":     {"kube-ipvs/proxier", "kube-ipvs/proxier/source", "k8s.io/client-go/"},
	"proxier/ledger":      {"kube-ipvs/proxier", "kube-ipvs/proxier/source", "k8s.io/client-go/"},
	"proxier/report":      {"kube-ipvs/proxier", "kube-ipvs/proxier/source", "k8s.io/client-go/"},
	"proxier/relay":       {"kube-ipvs/proxier"},
	"proxier/config":      {"k8s.io/client-go/", "kube-ipvs/proxier/kernel", "kube-ipvs/ipset"},
	"proxier/node":        {"kube-ipvs/proxier/", "kube-ipvs/ipset", "k8s.io/"},
	"proxier/kernel/ipvs": {"k8s.io/", "kube-ipvs/proxier/state", "kube-ipvs/ipset"},
}

// common is a type that the packages on both sides of the kernel's door share.
const common = "kube-ipvs/netutil/ipfamily"

// direct lists the packages that a package must not import itself.
var direct = map[string][]string{
	"proxier":         {"os/exec", "github.com/vishvananda/netlink", "github.com/moby/ipvs"},
	"proxier/desired": {"os", "os/exec"},
	"proxier/explain": {"os", "os/exec"},
	"proxier/health":  {"os/exec", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset"},
	"proxier/metrics": {"os/exec", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset"},
	"proxier/model":   {"os", "os/exec"},
	"proxier/relay":   {"os/exec", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset"},
	"proxier/status":  {"os", "os/exec", "kube-ipvs/proxier/kernel", "kube-ipvs/proxier/health", "kube-ipvs/proxier/source", "kube-ipvs/netutil", "kube-ipvs/ipset"},
	"proxier/traffic": {"os/exec", "kube-ipvs/netutil", "kube-ipvs/ipset"},
	"proxier/cluster": {"os", "os/exec", "kube-ipvs/proxier/kernel", "kube-ipvs/netutil", "kube-ipvs/ipset"},
}

func list(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, "kube-ipvs/"+pkg).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}

func forbid(t *testing.T, pkg string, have, forbidden []string) {
	t.Helper()
	for _, dep := range have {
		for _, f := range forbidden {
			self := strings.HasPrefix(dep+"/", "kube-ipvs/"+pkg+"/")
			if dep == f || strings.HasSuffix(f, "/") && strings.HasPrefix(dep, f) && !self && dep != common {
				t.Errorf("%s must not know of %s", pkg, dep)
			}
		}
	}
}

func TestDependencies(t *testing.T) {
	for pkg, forbidden := range rules {
		forbid(t, pkg, list(t, `{{join .Deps "\n"}}`, pkg), forbidden)
	}
	for pkg, forbidden := range direct {
		forbid(t, pkg, list(t, `{{join .Imports "\n"}}`, pkg), forbidden)
	}
}

// No package imports a command, and only tests import the tests' tools.
func TestNoneImports(t *testing.T) {
	for _, line := range list(t, `{{range .Imports}}{{$.ImportPath}}>{{.}}{{"\n"}}{{end}}`, "...") {
		from, to, _ := strings.Cut(line, ">")
		if strings.HasPrefix(to, "kube-ipvs/cmd/") || strings.HasPrefix(to, "kube-ipvs/test/") && !strings.HasPrefix(from, "kube-ipvs/test/") {
			t.Errorf("%s must not import %s", from, to)
		}
	}
}
