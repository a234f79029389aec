package life

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// refused checks that a subcommand fails, says why and leaves the node alone.
func (n *node) refused(code int, words []string, args ...string) {
	n.t.Helper()
	before := n.snapshot()
	out, got := n.kube(args...)
	if got != code {
		n.t.Errorf("%q: exit code %d, want %d", args, got, code)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			n.t.Errorf("%q does not say %q but %s", args, w, out)
		}
	}
	if strings.Contains(out, "panic") || strings.Count(out, "\n") > 10 {
		n.t.Errorf("%q is not short about it: %s", args, out)
	}
	n.same("a refused start left something", before, n.snapshot())
}

// all returns every subcommand that needs the kernel and iptables.
func (n *node) all() [][]string {
	return [][]string{{"run", "--manifests", n.dir}, {"plan", "--manifests", n.dir}, {"explain", "default/web", "--manifests", n.dir}, {"state"}, {"cleanup"}}
}

func TestWithoutPrivilege(t *testing.T) {
	for name, prefix := range map[string][]string{
		"no capability":        {"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"},
		"another user":         {"setpriv", "--reuid", "65534", "--clear-groups"},
		"a user namespace":     {"unshare", "--user", "--map-root-user"},
		"only net_raw is left": {"setpriv", "--bounding-set", "-all,+net_raw", "--inh-caps", "-all"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "direct")
			n.enrich()
			n.prefix = prefix
			if name == "another user" {
				n.sh("chmod -R a+rX %s", n.dir)
				n.prefix = append(prefix, "--")
			}
			for _, args := range append(n.all(), []string{"top"}) {
				n.refused(1, []string{"CAP_NET_ADMIN"}, args...)
			}
		})
	}
}

// tools makes a folder with links to some of the programs of iptables, by the
// names that they are to have there, and has kube-ipvs find no others.
func (n *node) tools(links map[string]string) {
	n.t.Helper()
	dir := n.t.TempDir()
	for name, target := range links {
		path, err := exec.LookPath(target)
		if err != nil {
			n.t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			n.t.Fatal(err)
		}
	}
	n.prefix = []string{"env", "PATH=" + dir}
}

func TestWithoutIPTables(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	n.tools(nil)
	for _, args := range n.all() {
		n.refused(1, []string{"iptables", "is installed"}, args...)
	}
}

// links names the tools of one variant.
func links(variant, as string) map[string]string {
	out := map[string]string{}
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, does := range []string{"save", "restore"} {
			out[tool+as+"-"+does] = tool + "-" + variant + "-" + does
		}
	}
	return out
}

// A host may have one variant only, under its own name or under the plain one.
func TestWithOneVariantOfIPTables(t *testing.T) {
	for variant, other := range map[string]string{"nft": "legacy", "legacy": "nft"} {
		for _, as := range []string{"", "-" + variant} {
			t.Run(variant+" as iptables"+as, func(t *testing.T) {
				n := newNode(t, "direct")
				before := n.snapshot()
				n.enrich()
				n.tools(links(variant, as))
				n.refused(1, []string{"iptables-" + other + "-restore"}, "run", "--manifests", n.dir, "--iptables-backend", other)
				d := n.start()
				n.settled()
				d.stop()
				out := n.sh("iptables-%s-save", variant)
				if !strings.Contains(out, "-A PREROUTING -j KIPVS-NAT") {
					t.Errorf("iptables-%s-save does not show our rules: %s", variant, out)
				}
				n.cleanup()
				n.same("after cleanup the node is not as before", before, n.snapshot())
			})
		}
	}
}

// An iptables that fails is quoted.
func TestBrokenIPTables(t *testing.T) {
	for _, variant := range []string{"nft", "legacy"} {
		broken := "iptables-" + variant + "-restore"
		t.Run(broken, func(t *testing.T) {
			n := newNode(t, "direct")
			n.enrich()
			dir := t.TempDir()
			if err := testbed.WriteScript(filepath.Join(dir, broken), "#!/bin/sh\necho the disk is on fire >&2\nexit 3\n"); err != nil {
				t.Fatal(err)
			}
			n.prefix = []string{"env", "PATH=" + dir + ":" + os.Getenv("PATH")}
			n.refused(1, []string{broken, "the disk is on fire"}, "run", "--manifests", n.dir, "--iptables-backend", variant)
		})
	}
}

// An ip6tables that fails takes IPv6 from a new node whose primary family is IPv4, and no more.
// Where an earlier run has programmed IPv6 it takes nothing.
func TestBrokenIP6Tables(t *testing.T) {
	for variant, mode := range map[string]string{"nft": "image", "legacy": "direct"} {
		t.Run(variant, func(t *testing.T) {
			n := newNode(t, mode)
			n.enrich()
			dir, flags := t.TempDir(), []string{"--iptables-backend", variant}
			if err := testbed.WriteScript(filepath.Join(dir, "ip6tables-"+variant+"-restore"), "#!/bin/sh\necho the table is incompatible >&2\nexit 3\n"); err != nil {
				t.Fatal(err)
			}
			broken := []string{"env", "PATH=" + dir + ":" + os.Getenv("PATH")}
			n.prefix = broken
			d := n.start(flags...)
			d.first()
			if log := d.Log(); !strings.Contains(log, "served over IPv4 alone") || !strings.Contains(log, "the table is incompatible") {
				t.Errorf("it does not warn: %s", log)
			}
			if out := n.sh("iptables-%s-save", variant); !strings.Contains(out, "-A PREROUTING -j KIPVS-NAT") {
				t.Errorf("IPv4 is not programmed: %s", out)
			}
			d.stop()
			n.refused(1, []string{"the table is incompatible"}, append(n.run(flags...), "--node-ip", "fd50::1,192.168.50.1")...)
			n.prefix = nil
			d = n.start(flags...)
			n.settled()
			d.stop()
			before := n.sh("ipvsadm -Sn")
			n.prefix = broken
			d = n.start(append(flags, "--masquerade-all")...)
			d.first()
			if after := n.sh("ipvsadm -Sn"); after != before || strings.Contains(d.Log(), "IPv4 alone") {
				t.Errorf("a start over a programmed node: %s\nbefore:\n%s\nafter:\n%s", d.Log(), before, after)
			}
		})
	}
}

// A node whose primary family is IPv6 would be ready and serve nothing while IPv6 is off.
func TestPrimaryFamilyIsOff(t *testing.T) {
	n := newNode(t, "image")
	n.enrich()
	n.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
	n.refused(1, []string{"IPv6 is switched off", "primary family"}, n.run("--node-ip", "fd50::1")...)
}

// A scheduler that IPVS does not have, or that this kernel was built without, is
// answered by those that there are.
func TestUnknownScheduler(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		run := func(scheduler string) []string {
			return append([]string{"run", "--manifests", n.dir, "--scheduler", scheduler}, n.flags...)
		}
		n.refused(64, []string{`"nosuch"`, "the schedulers are rr, wrr, lc, wlc"}, run("nosuch")...)
		n.refused(1, []string{`"twos"`, "this kernel has: rr, wrr, lc, wlc"}, run("twos")...) // which the lab's has not
	})
}

// A program that holds the xtables lock for long does not end a start. The start says
// that it waits, and for which program.
func TestStartWaitsForXtablesLock(t *testing.T) {
	n := newNode(t, "direct")
	n.enrich()
	n.flags = append(n.flags, "--iptables-backend", "legacy")
	lock, err := os.OpenFile("/run/xtables.lock", os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	d := n.start()
	r := d.awaitRecord(0, func(r record) bool { return r.Msg == "the start waits for another program" })
	if !strings.Contains(r.Err, "another program holds the xtables lock") {
		t.Errorf("it does not name the program: %+v", r)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if r := d.first(); r.Failed != 0 {
		t.Errorf("%d writes of the first round failed", r.Failed)
	}
	n.settled()
	d.stop()
}
