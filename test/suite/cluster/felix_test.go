package cluster

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kube-ipvs/test/lib/cluster"
	"kube-ipvs/test/lib/testbed"
)

// Calico's felix applies a pod's egress policy to its packets to Services, whichever
// of the two programs comes first.
func TestFelix(t *testing.T) {
	path := neighbour(t, "calico-felix")
	furnish(t, filepath.Join(filepath.Dir(path), "crd"))
	for _, c := range []struct{ servers, binding string }{{"image", "route"}, {"image", "address"}, {"direct", "address"}} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%s/felix first %v", c.servers, c.binding, first), func(t *testing.T) {
				begin(t)
				allowed, other := confined(t)
				if first {
					felix(t, path)
				}
				d := start(t, "--cluster-ip-servers", c.servers, "--vip-binding", c.binding)
				settled(t, d)
				if !first {
					felix(t, path)
				}
				await(t, func() error { // it is at work, and knows of IPVS
					if rules := sh(t, bed.Node, "iptables -S cali-INPUT 2>&1 || true"); !strings.Contains(rules, "cali-forward-check") {
						return fmt.Errorf("felix does not know of IPVS: %s", rules)
					}
					return asked(t.Context(), bed.C1, "tcp", netip.AddrPortFrom(bed.P2.IPv4, testbed.TargetPort), keptAway)
				})
				await(t, func() error { return asked(t.Context(), bed.C1, "tcp", other.ClusterIP().V4, keptAway) })
				kept(t, allowed, other)
				if rules := sh(t, bed.Node, "iptables -S INPUT | grep ^-A"); !strings.Contains(rules, "-j cali-INPUT\n-A INPUT -j KIPVS-IN") {
					t.Errorf("INPUT is\n%s", rules)
				}
			})
		}
	}
}

// furnish makes the objects that felix looks for: its types, the sign that its data is
// complete, and links of pods with the names that the network plugin gives them.
func furnish(t *testing.T, types string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(types, "*.yaml"))
	if must(t, err); len(files) == 0 {
		t.Skipf("needs Calico's libcalico-go/config/crd as %s", types)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		must(t, post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", string(text)))
	}
	await(t, func() error {
		return post(t, "/apis/crd.projectcalico.org/v1/clusterinformations", "apiVersion: crd.projectcalico.org/v1\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {datastoreReady: true}\n")
	})
	for _, h := range []*testbed.Host{bed.P1, bed.P2, bed.C1} {
		sum := sha1.Sum([]byte(cluster.Namespace + "." + h.Name))
		rename(t, h, "v"+h.Name, "cali"+hex.EncodeToString(sum[:])[:11])
		t.Cleanup(func() { rename(t, h, "cali"+hex.EncodeToString(sum[:])[:11], "v"+h.Name) })
	}
}

func rename(t *testing.T, pod *testbed.Host, from, to string) {
	t.Helper()
	sh(t, bed.Node, fmt.Sprintf(`ip link set %[1]s down; ip link set %[1]s name %[2]s; ip link set %[2]s up; ip -6 addr replace fe80::1/64 dev %[2]s nodad
ip route replace %[3]s/32 dev %[2]s src %[4]s; ip -6 route replace %[5]s/128 dev %[2]s src %[6]s`, from, to, pod.IPv4, bed.Node.IPv4, pod.IPv6, bed.Node.IPv6))
}

func post(t *testing.T, path, text string) error {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	must(t, err)
	return control.Client().CoreV1().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
}

// felix runs until the test ends. It ends by itself, to be started again, when the
// device comes or goes.
func felix(t *testing.T, path string) {
	t.Helper()
	const again = `trap 'kill $felix; exit' TERM; while :; do "$1" & felix=$!; wait $felix; done`
	p, err := control.Run(t.Context(), bed.Node, "/usr/bin/env", "http://127.0.0.1:9099/readiness", "FELIX_DATASTORETYPE=kubernetes", "KUBECONFIG="+control.Kubeconfig(cluster.Admin), "FELIX_FELIXHOSTNAME="+bed.Node.Name,
		"FELIX_LOGFILEPATH=none", "FELIX_HEALTHENABLED=true", "FELIX_HEALTHHOST=127.0.0.1", "FELIX_USAGEREPORTINGENABLED=false", "FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT", "FELIX_IPTABLESBACKEND=nft",
		"/bin/sh", "-c", again, "sh", path)
	untilEnd(t, p, "iptables-save -t filter | grep -E '^-A (INPUT|OUTPUT|FORWARD|cali-INPUT|cali-OUTPUT|cali-forw|cali-set)'; ipset list cali40this-host")
	must(t, err)
}
