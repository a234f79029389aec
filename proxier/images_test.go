package proxier

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

// An endpoint in an image prefix can never be reached: IPVS would be asked for it
// again. It is left out and told, with the prefix and its flag, and the others of
// the Service go on.
func TestEndpointInImagePrefixIsLeftOut(t *testing.T) {
	for _, mode := range []desired.Mode{desired.Direct, desired.Image} {
		synctest.Test(t, func(t *testing.T) {
			const ip, good = "10.96.0.10", "10.244.0.1"
			k := newFake()
			p := running(t, k, testConfig(mode))
			bad := map[string]string{"243.1.2.3": "240.0.0.0/5 (--image-prefix)", "249.0.0.1": "248.0.0.0/6 (--image-prefix-local)", "252.0.0.1": "252.0.0.0/30 (--image-prefix-nodeport)"}
			slice := webSlice(ip, good)
			for a := range bad {
				slice.Slice.Endpoints = append(slice.Slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
			}
			p.Events([]source.Event{webService(ip), slice})
			p.Synced()
			synctest.Wait()
			var reals []string
			for id := range k.State.All() {
				if id.Kind == state.RealServer {
					reals = append(reals, id.Peer().String())
				}
			}
			if !slices.Equal(reals, []string{good}) {
				t.Errorf("%s: real servers %q", mode, reals)
			}
			for a, prefix := range bad {
				if !told(p, "EndpointSlice default/"+nameOf(ip)+"-1", a+" lies in the image prefix "+prefix) {
					t.Errorf("%s: nothing is said of %s: %v", mode, a, p.Last().Problems)
				}
			}
		})
	}
}

// told reports whether there is a problem of an object that says so.
func told(p *Proxier, object, what string) bool {
	for _, pr := range p.Last().Problems {
		if pr.Object == object && strings.Contains(pr.Message, what) {
			return true
		}
	}
	return false
}

// What the Node object and the node's links have in an image prefix is told, and
// solved when it is gone.
func TestNodeInImagePrefixIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFake()
		c := testConfig(desired.Image)
		c.NodeCIDR = true
		p := running(t, k, c)
		object := "Node " + c.Desired.NodeName
		node := func(cidr string) source.Event {
			n := &corev1.Node{}
			n.Name, n.Spec.PodCIDRs = c.Desired.NodeName, []string{cidr}
			return source.Event{Node: n}
		}
		p.Synced()
		for _, step := range []struct {
			cidr, address string
		}{
			{"10.244.0.0/24", ""}, {"241.0.0.0/24", ""}, {"6000::/64", ""}, {"10.244.0.0/24", "240.0.0.5/24"}, {"10.244.0.0/24", ""},
		} {
			k.NodeFacts.InImages = nil
			if step.address != "" {
				k.NodeFacts.InImages = []netip.Prefix{netip.MustParsePrefix(step.address)}
			}
			p.Events([]source.Event{node(step.cidr)})
			p.FactsChanged()
			time.Sleep(2 * factsInterval)
			synctest.Wait()
			bad := step.cidr != "10.244.0.0/24"
			if got := told(p, object, step.cidr+" overlaps the image prefix"); got != bad {
				t.Errorf("%s, %s: told of podCIDRs: %v", step.cidr, step.address, got)
			}
			used := strings.Contains(specOf(k, state.RulesID(state.IPv4)).Text+specOf(k, state.RulesID(state.IPv6)).Text, "! -s "+step.cidr)
			if used == bad {
				t.Errorf("%s is in the rules: %v", step.cidr, used)
			}
			if got := told(p, object, fmt.Sprintf("its address %s lies in the image prefix", "240.0.0.5/24")); got != (step.address != "") {
				t.Errorf("%s, %s: told of an address: %v", step.cidr, step.address, got)
			}
		}
	})
}
