package desired

import (
	"hash/fnv"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

func config(mode Mode) Config {
	return Config{
		Mode: mode, Scheduler: "rr", IPv6: true, Images: DefaultImages, MasqueradeBit: 14, NodeName: world.Node,
		PodCIDRs: [2]netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/64")},
	}
}

var facts = state.Facts{NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.50.1"), netip.MustParseAddr("fd50::1")}, MTU: 1500}

func apply(s *state.State, wants []state.Want) {
	for _, w := range wants {
		if w.Present {
			s.Put(w.ID, w.Spec)
		} else {
			s.Delete(w.ID)
		}
	}
}

func asState(t interface{ Fatalf(string, ...any) }, table *Table) *state.State {
	s := &state.State{}
	for id, spec := range table.All() {
		if s.Has(id) {
			t.Fatalf("%s is wanted twice", id)
		}
		s.Put(id, spec)
	}
	if s.Len() != table.Len() {
		t.Fatalf("%d objects are wanted, and Len says %d", s.Len(), table.Len())
	}
	return s
}

func lines(s *state.State) []string { return strings.Split(s.String(), "\n") }

// event changes a model at random.
func event(t *rapid.T, m *model.Model) {
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0:
		s := world.Service(t)
		m.DeleteService(model.Key{Namespace: s.Namespace, Name: s.Name})
	case 1:
		s := world.Slice(t)
		m.DeleteSlice(s.Namespace, s.Name)
	case 2, 3, 4, 5:
		m.ApplyService(world.Service(t), "")
	default:
		m.ApplySlice(world.Slice(t), "")
	}
}

// After any steps the touched objects add up to the objects of one rendering from nothing.
func TestUpdateAddsUpToAll(t *testing.T) {
	for _, mode := range []Mode{Direct, Image} {
		t.Run(string(mode), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := model.New(model.Node{Name: world.Node})
				table := NewTable(config(mode), facts)
				kept := asState(t, table)
				for range rapid.IntRange(1, 30).Draw(t, "steps") {
					for range rapid.IntRange(1, 3).Draw(t, "events") {
						event(t, m)
					}
					apply(kept, table.Update(m, m.TakeDirty()))
				}
				if diff := cmp.Diff(lines(asState(t, table)), lines(kept)); diff != "" {
					t.Fatalf("steps do not add up to what the table holds (-table +steps):\n%s", diff)
				}
				fresh := NewTable(config(mode), facts)
				fresh.Update(m, m.Keys())
				if diff := cmp.Diff(lines(asState(t, fresh)), lines(kept)); diff != "" {
					t.Fatalf("steps do not add up to what comes from nothing (-nothing +steps):\n%s", diff)
				}
			})
		})
	}
}

// Rendering keeps what the rules rely on.
func TestRenderedStateIsSound(t *testing.T) {
	for _, mode := range []Mode{Direct, Image} {
		t.Run(string(mode), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := model.New(model.Node{Name: world.Node})
				for range rapid.IntRange(1, 20).Draw(t, "events") {
					event(t, m)
				}
				c := config(mode)
				table := NewTable(c, facts)
				table.Update(m, m.Keys())
				if err := c.Sound(asState(t, table)); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func newService(name string, created int, ip string, external ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(created), 0))}}
	s.Spec.ClusterIP = ip
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	s.Spec.ExternalIPs = external
	model.Default(s)
	return s
}

// owner returns the Service port of a published frontend, by the entry's comment.
func owner(table *Table, frontend string) string {
	id := state.EntryID(state.SetAll, state.TCP, netip.MustParseAddrPort(frontend))
	for have, spec := range table.All() {
		if have == id {
			return spec.Value().Text
		}
	}
	return "nobody"
}

func TestTwoServicesOneAddress(t *testing.T) {
	const shared = "192.168.50.200:80"
	m := model.New(model.Node{Name: world.Node})
	table := NewTable(config(Direct), facts)
	step := func(name, want string, problems ...string) {
		t.Helper()
		table.Update(m, m.TakeDirty())
		if got := owner(table, shared); got != want {
			t.Errorf("%s: %s has it, want %s", name, got, want)
		}
		var got []string
		for _, p := range table.Board().List() {
			got = append(got, p.String())
		}
		if len(got) != len(problems) {
			t.Fatalf("%s: problems %q, want %q", name, got, problems)
		}
		for i := range got {
			if !strings.Contains(got[i], problems[i]) {
				t.Errorf("%s: problem %q does not say %q", name, got[i], problems[i])
			}
		}
	}
	m.ApplyService(newService("young", 200, "10.96.0.1", "192.168.50.200"), "")
	step("alone", "default/young")
	m.ApplyService(newService("old", 100, "10.96.0.2", "192.168.50.200"), "")
	step("an older one comes", "default/old", "Service default/young: spec.externalIPs: external IP 192.168.50.200:80/tcp is left out: another Service has")
	if got := owner(table, "10.96.0.1:80"); got != "default/young" {
		t.Errorf("the loser's own address belongs to %s", got)
	}
	m.DeleteService(model.Key{Namespace: "default", Name: "old"})
	step("the older one goes", "default/young")
	m.ApplyService(newService("other", 200, "10.96.0.3", "192.168.50.200"), "")
	step("same age: the name decides", "default/other", "Service default/young")
	m.ApplyService(newService("other", 200, "10.96.0.3"), "")
	step("the winner lets go", "default/young")
}

func TestImageOf(t *testing.T) {
	tests := []struct{ addr, prefix, want string }{
		{"10.96.0.10", "240.0.0.0/5", "242.96.0.10"},
		{"192.168.50.200", "240.0.0.0/5", "240.168.50.200"},
		{"192.168.50.200", "248.0.0.0/6", "248.168.50.200"},
		{"172.31.255.255", "248.0.0.0/6", "248.31.255.255"},
		{"fd96::a", "4000::/3", "5d96::a"},
		{"2001:db8::1", "6000::/3", "6001:db8::1"},
		{"10.96.0.10", "127.0.0.0/8", "127.96.0.10"},
	}
	for _, tt := range tests {
		if got := ImageOf(netip.MustParseAddr(tt.addr), netip.MustParsePrefix(tt.prefix)); got.String() != tt.want {
			t.Errorf("image of %s in %s is %s, want %s", tt.addr, tt.prefix, got, tt.want)
		}
	}
}

func TestImagesValidate(t *testing.T) {
	p := netip.MustParsePrefix
	tests := []struct {
		name   string
		images Images
		family state.Family
		says   string
	}{
		{"IPv4 default", DefaultImages[0], state.IPv4, ""},
		{"IPv6 default", DefaultImages[1], state.IPv6, ""},
		{"wrong family", DefaultImages[1], state.IPv4, "right family"},
		{"overlap", Images{p("240.0.0.0/5"), p("244.0.0.0/6"), p("252.0.0.0/30")}, state.IPv4, "overlap"},
		{"too small", Images{p("240.0.0.0/5"), p("248.0.0.0/6"), p("252.0.0.0/31")}, state.IPv4, "fewer than the four"},
		{"host bits", Images{p("240.0.0.1/5"), p("248.0.0.0/6"), p("252.0.0.0/30")}, state.IPv4, "not a network"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.images.Validate(tt.family)
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

// 5,000 nodes must not all begin with the same endpoint.
func TestShuffleSpreadsOverNodes(t *testing.T) {
	first := map[netip.AddrPort]int{}
	const nodes, endpoints = 5000, 10
	for n := range nodes {
		var eps []netip.AddrPort
		for i := range endpoints {
			eps = append(eps, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(i)}), 8080))
		}
		order := shuffle(nil, eps, string(rune('a'+n%26))+time.Duration(n).String(), model.Key{Namespace: "default", Name: "web"}, 0)
		first[order[endpoints-1].endpoint]++
	}
	for ep, n := range first {
		if n < nodes/endpoints*8/10 || n > nodes/endpoints*12/10 {
			t.Errorf("%s is first on %d of %d nodes, want about %d", ep, n, nodes, nodes/endpoints)
		}
	}
}

// A new version must not shuffle anew.
func TestShuffleHash(t *testing.T) {
	h := fnv.New64a()
	_, _ = h.Write([]byte("node\x00default/web"))
	if got := fnv64a("node", "\x00", "default/web"); got != h.Sum64() {
		t.Errorf("got %x, want %x", got, h.Sum64())
	}
}

func TestAddressInImagePrefixIsLeftOut(t *testing.T) {
	m := model.New(model.Node{Name: world.Node})
	m.ApplyService(newService("web", 1, "10.96.0.1", "241.0.0.1", "192.168.50.200"), "")
	table := NewTable(config(Direct), facts)
	table.Update(m, m.TakeDirty())
	if len(table.Board().List()) != 1 || !strings.Contains(table.Board().List()[0].String(), "spec.externalIPs: 241.0.0.1 is left out: it lies in the image prefix 240.0.0.0/5 (--image-prefix)") {
		t.Errorf("problems %v", table.Board().List())
	}
	if owner(table, "241.0.0.1:80") != "nobody" || owner(table, "192.168.50.200:80") != "default/web" {
		t.Error("the wrong external IP was left out")
	}
}
