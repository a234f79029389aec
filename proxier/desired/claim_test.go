package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/world"
)

// said returns the problems of a table, one a line.
func said(table *Table) string {
	var all []string
	for _, p := range table.Board().List() {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

// A ClusterIP is its Service's, also if an older Service names it as an external IP.
func TestClusterIPOutranksExternalIP(t *testing.T) {
	for _, mode := range []Mode{Direct, Image} {
		t.Run(string(mode), func(t *testing.T) {
			m := model.New(model.Node{Name: world.Node})
			table := NewTable(config(mode), facts)
			step := func(name, want string, problems ...string) {
				t.Helper()
				table.Update(m, m.TakeDirty())
				if got := owner(table, "10.96.0.200:80"); got != want {
					t.Errorf("%s: %s has it, want %s", name, got, want)
				}
				if got := said(table); len(problems) == 0 && got != "" || slices.ContainsFunc(problems, func(p string) bool { return !strings.Contains(got, p) }) {
					t.Errorf("%s: problems %s, want %s", name, got, problems)
				}
			}
			m.ApplyService(newService("evil", 1, "10.96.0.10", "10.96.0.200", "192.168.50.200"), "")
			step("alone", "default/evil")
			m.ApplyService(newService("victim", 2, "10.96.0.200"), "")
			step("its ClusterIP comes", "default/victim", "Service default/evil: spec.externalIPs: external IP 10.96.0.200:80/tcp is left out: another Service")
			if got := owner(table, "192.168.50.200:80"); got != "default/evil" {
				t.Errorf("the other external IP is %s's", got)
			}
			fresh := NewTable(config(mode), facts)
			fresh.Update(m, m.Keys())
			if got := owner(fresh, "10.96.0.200:80"); got != "default/victim" {
				t.Errorf("after a restart %s has it", got)
			}
			m.DeleteService(model.Key{Namespace: "default", Name: "victim"})
			step("its Service goes", "default/evil")
		})
	}
	t.Run("image of an address of its own", func(t *testing.T) {
		m := model.New(model.Node{Name: world.Node})
		table := NewTable(config(Image), facts)
		s := newService("web", 1, "10.96.0.10", "2.96.0.10", "10.96.0.10", "192.168.50.200", "192.168.50.200")
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "more", Port: 81})
		s.Spec.Ports[0].Name = "http"
		m.ApplyService(s, "")
		table.Update(m, m.TakeDirty())
		if a, b := owner(table, "10.96.0.10:81"), owner(table, "192.168.50.200:81"); a != "default/web:more" || b != "default/web:more" {
			t.Errorf("the ClusterIP is %s's, the other external IP %s's", a, b)
		}
		if got := said(table); strings.Contains(got, "\n") || !strings.HasPrefix(got, "Service default/web: spec.externalIPs: 2.96.0.10 is left out: another address of this Service has the same mapped address") {
			t.Errorf("problems %q", got)
		}
		direct := NewTable(config(Direct), facts)
		direct.Update(m, m.Keys())
		if got := owner(direct, "2.96.0.10:80"); got != "default/web:http" || said(direct) != "" {
			t.Errorf("without an image of the ClusterIP the external IP is %s's, problems %q", got, said(direct))
		}
	})
	t.Run("image of another address", func(t *testing.T) {
		m := model.New(model.Node{Name: world.Node})
		table := NewTable(config(Image), facts)
		m.ApplyService(newService("evil", 1, "10.96.0.10", "2.96.0.200"), "") // both have the image 242.96.0.200
		m.ApplyService(newService("victim", 2, "10.96.0.200"), "")
		table.Update(m, m.TakeDirty())
		if a, b := owner(table, "10.96.0.200:80"), owner(table, "2.96.0.200:80"); a != "default/victim" || b != "nobody" {
			t.Errorf("the ClusterIP is %s's, the external IP %s's", a, b)
		}
	})
}

// Two Services that ask for the same thousand frontends are one problem, and each
// is rendered a few times and not once for each frontend.
func TestManyClashesAreOneProblem(t *testing.T) {
	m := model.New(model.Node{Name: world.Node})
	table := NewTable(config(Image), facts)
	wide(m, "1", 2, 5, 200, 1)
	wide(m, "2", 1, 5, 200, 1) // the older one comes second
	views := &counting{Model: m}
	table.Update(views, []model.Key{{Namespace: "default", Name: "1"}, {Namespace: "default", Name: "2"}})
	if views.n > 3 {
		t.Errorf("two Services were rendered %d times", views.n)
	}
	const want = "Service default/1: spec.externalIPs: external IP 192.168.0.0:1000/tcp, external IP 192.168.0.1:1000/tcp, external IP 192.168.0.2:1000/tcp and 997 more are left out: another Service"
	if got := said(table); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
		t.Errorf("problems %s\nwant     %s", got, want)
	}
}

type counting struct {
	*model.Model
	n int
}

func (c *counting) View(key model.Key) (model.View, bool) {
	c.n++
	return c.Model.View(key)
}

// A Service may have so many frontends; its ClusterIPs come first, and the rest
// serves.
func TestFrontendsAreLimited(t *testing.T) {
	m := model.New(model.Node{Name: world.Node})
	c := config(Image)
	c.MaxFrontends = 7
	table := NewTable(c, facts)
	wide(m, "1", 1, 5, 200, 1)
	table.Update(m, m.TakeDirty())
	s, _ := m.Service(model.Key{Namespace: "default", Name: "1"})
	var got []string
	for _, f := range table.Frontends(s) {
		got = append(got, f.Addr.String())
	}
	want := []string{"10.96.0.1:1000", "192.168.0.0:1000", "192.168.0.1:1000", "10.96.0.1:1001", "10.96.0.1:1002", "10.96.0.1:1003", "10.96.0.1:1004"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := said(table); !strings.HasPrefix(got, "Service default/1: spec: 998 frontends (address, port and protocol) are left out") || strings.Contains(got, "\n") {
		t.Errorf("problems %s", got)
	}
	c.MaxFrontends = 0
	table.SetConfig(c)
	table.Update(m, m.Keys())
	if n := len(table.Frontends(s)); n != 1005 || said(table) != "" {
		t.Errorf("without a limit %d frontends, problems %s", n, said(table))
	}
}

// A frontend with source ranges counts each of them: they are its entries.
func TestSourceRangesAreLimited(t *testing.T) {
	m := model.New(model.Node{Name: world.Node})
	c := config(Image)
	c.MaxFrontends = 100
	table := NewTable(c, facts)
	s := newService("web", 1, "10.96.0.1", "192.168.50.9")
	s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeLoadBalancer, nil
	for i := range 5 {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint(i), Port: int32(1000 + i), Protocol: "TCP"})
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.50.8"}}
	for i := range 29 {
		s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges, fmt.Sprintf("172.16.%d.0/24", i), fmt.Sprintf("172.16.%d.9/32", i))
	}
	for i, want := range []struct {
		loadBalancer, external, sources int
		said                            string
	}{
		{3, 5, 3 * 29, "Service default/web: spec.loadBalancerSourceRanges: 2 load-balancer frontends (address, port and protocol) are left out"},
		{5, 5, 5 * 1, ""}, // a range that has all others
	} {
		if i > 0 {
			s = s.DeepCopy()
			s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges, "172.16.0.0/12")
		}
		m.ApplyService(s, "")
		table.Update(m, m.TakeDirty())
		var reach [4]int
		v, _ := m.Service(model.Key{Namespace: "default", Name: "web"})
		for _, f := range table.Frontends(v) {
			reach[f.Reach]++
		}
		sources := 0
		for id := range table.All() {
			if id.Kind == state.Entry && id.Set == state.SetSourceAllowed {
				sources++
			}
		}
		if reach[ClusterIP] != 5 || reach[LoadBalancer] != want.loadBalancer || reach[External] != want.external || sources != want.sources {
			t.Errorf("frontends %v and %d sources, want %+v", reach, sources, want)
		}
		if got := said(table); !strings.HasPrefix(got, want.said) || want.said == "" && got != "" {
			t.Errorf("problems %s", got)
		}
	}
}

// Services cannot take addresses of API servers: those of the configuration, and the
// endpoints of default/kubernetes. All other addresses of the node are usable.
func TestAPIServersAreGuarded(t *testing.T) {
	c := config(Image)
	c.Protected = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:443"), netip.MustParseAddrPort("10.96.0.1:443")}
	m := model.New(model.Node{Name: world.Node})
	table := NewTable(c, facts)
	evil := newService("evil", 1, "10.96.0.10", "203.0.113.1", "192.168.50.10", "192.168.50.1", "10.96.0.1")
	evil.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 443}, {Name: "b", Port: 6443}}
	m.ApplyService(evil, "")
	mine := newService("mine", 1, "192.168.50.10") // written by hand
	m.ApplyService(mine, "")
	step := func(name string, want map[string]string, problems int) {
		t.Helper()
		table.Update(m, m.TakeDirty())
		for at, who := range want {
			if got := owner(table, at); got != who {
				t.Errorf("%s: %s is %s's, want %s", name, at, got, who)
			}
		}
		if got := said(table); len(table.Board().List()) != problems {
			t.Errorf("%s: problems %s", name, got)
		}
	}
	step("configured", map[string]string{
		"203.0.113.1:443": "nobody", "203.0.113.1:6443": "default/evil:b", "192.168.50.10:6443": "default/evil:b", "192.168.50.1:443": "default/evil:a",
		"10.96.0.1:443": "nobody", "192.168.50.10:80": "default/mine",
	}, 1)
	kubernetes := newService("kubernetes", 9, "10.96.0.1")
	kubernetes.Spec.Ports[0].Port = 443
	m.ApplyService(kubernetes, "")
	m.ApplySlice(endpointsOf("kubernetes", 6443, "192.168.50.10"), "")
	step("its Service comes", map[string]string{
		"203.0.113.1:443": "nobody", "192.168.50.10:6443": "nobody", "192.168.50.10:443": "default/evil:a", "10.96.0.1:443": "default/kubernetes", "192.168.50.10:80": "nobody",
	}, 3)
	if got := said(table); !strings.Contains(got, "external IP 192.168.50.10:6443/tcp, external IP 203.0.113.1:443/tcp are left out: an API server") &&
		!strings.Contains(got, "external IP 203.0.113.1:443/tcp, external IP 192.168.50.10:6443/tcp are left out: an API server") ||
		!strings.Contains(got, "Service default/mine: spec.clusterIPs: 192.168.50.10 is left out: it is the address of an API server") {
		t.Errorf("problems %s", got)
	}
	m.ApplySlice(endpointsOf("kubernetes", 6443, "192.168.50.11"), "")
	step("it moves", map[string]string{"192.168.50.10:6443": "default/evil:b", "192.168.50.10:80": "default/mine"}, 2)
}

// A load balancer of the API servers has the address by which the node asks them
// while it leads to these alone.
func TestLoadBalancerOfAPIServers(t *testing.T) {
	const at = "192.168.1.100:6443"
	c := config(Image)
	c.Protected = []netip.AddrPort{netip.MustParseAddrPort(at)}
	m := model.New(model.Node{Name: world.Node})
	table := NewTable(c, facts)
	lb := newService("lb", 1, "10.96.0.10")
	lb.Spec.Type, lb.Spec.Ports[0].Port = corev1.ServiceTypeLoadBalancer, 6443
	lb.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.1.100"}}
	another := newService("another", 2, "10.96.0.11", "192.168.50.11")
	another.Spec.Ports[0].Port = 6443
	kubernetes := newService("kubernetes", 9, "10.96.0.1")
	m.ApplyService(lb, "")
	m.ApplyService(another, "")
	m.ApplyService(kubernetes, "")
	m.ApplySlice(endpointsOf("another", 6443, "192.168.50.10"), "")
	for _, step := range []struct {
		name    string
		apply   *discoveryv1.EndpointSlice
		ranges  []string
		want    string
		another string // who has an endpoint's own address
	}{
		{"no endpoints", endpointsOf("kubernetes", 6443, "192.168.50.10", "192.168.50.11"), nil, "nobody", "nobody"},
		{"a subset", endpointsOf("lb", 6443, "192.168.50.10"), nil, "default/lb", "nobody"},
		{"one more", endpointsOf("lb", 6443, "192.168.50.10", "10.244.0.9"), nil, "nobody", "nobody"},
		{"all", endpointsOf("lb", 6443, "192.168.50.10", "192.168.50.11"), nil, "default/lb", "nobody"},
		{"an API server goes", endpointsOf("kubernetes", 6443, "192.168.50.10"), nil, "nobody", "default/another"},
		{"and comes", endpointsOf("kubernetes", 6443, "192.168.50.10", "192.168.50.11"), nil, "default/lb", "nobody"},
		{"its address is an API server's, too", endpointsOf("kubernetes", 6443, "192.168.50.10", "192.168.50.11", "192.168.1.100"), nil, "nobody", "nobody"},
		{"no more", endpointsOf("kubernetes", 6443, "192.168.50.10", "192.168.50.11"), nil, "default/lb", "nobody"},
		{"source ranges", nil, []string{"203.0.113.0/24"}, "nobody", "nobody"},
		{"none", nil, nil, "default/lb", "nobody"},
		{"another port", endpointsOf("lb", 8443, "192.168.50.10"), nil, "nobody", "nobody"},
		{"the address itself", endpointsOf("kubernetes", 6443, "192.168.1.100"), nil, "nobody", "default/another"},
		{"a loop", endpointsOf("lb", 6443, "192.168.1.100"), nil, "nobody", "default/another"},
	} {
		if !slices.Equal(step.ranges, lb.Spec.LoadBalancerSourceRanges) {
			lb = lb.DeepCopy()
			lb.Spec.LoadBalancerSourceRanges = step.ranges
			m.ApplyService(lb, "")
		}
		if step.apply != nil {
			m.ApplySlice(step.apply, "")
		}
		table.Update(m, m.TakeDirty())
		if got, own := owner(table, at), owner(table, "192.168.50.11:6443"); got != step.want || own != step.another {
			t.Errorf("%s: %s's and %s's, want %s and %s\n%s", step.name, got, own, step.want, step.another, said(table))
		}
	}
}

func endpointsOf(service string, port int32, addrs ...string) *discoveryv1.EndpointSlice {
	es := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new(""), Protocol: new(corev1.ProtocolTCP), Port: &port}},
	}
	for _, a := range addrs {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return es
}

// A ClusterIP that is the node's own address would have all other ports of it
// refused, and would take the address with it when it goes.
func TestNodeIPIsNoClusterIP(t *testing.T) {
	m := model.New(model.Node{Name: world.Node})
	table := NewTable(config(Image), facts)
	m.ApplyService(newService("web", 1, "192.168.50.1", "192.168.50.200"), "")
	table.Update(m, m.TakeDirty())
	if owner(table, "192.168.50.1:80") != "nobody" || owner(table, "192.168.50.200:80") != "default/web" {
		t.Error("the node's own address is served, or the external IP is not")
	}
	if got := said(table); got != "Service default/web: spec.clusterIPs: 192.168.50.1 is left out: it is this node's own address" {
		t.Errorf("problems %s", got)
	}
}

// The right one of several Services has an address, in each order of their arrival.
func TestWhoHasAnAddress(t *testing.T) {
	ips := []string{"192.168.50.10", "192.168.50.1", "10.96.0.1", "10.96.0.2", "10.96.0.3", "192.168.50.200"}
	draw := func(t *rapid.T) *corev1.Service {
		name := rapid.SampledFrom([]string{"kubernetes", "a", "b", "c"}).Draw(t, "name")
		s := newService(name, rapid.IntRange(0, 2).Draw(t, "created"), rapid.SampledFrom(ips).Draw(t, "ClusterIP"),
			rapid.SliceOfNDistinct(rapid.SampledFrom(ips), 0, 3, rapid.ID).Draw(t, "external IPs")...)
		if name == "kubernetes" {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.ExternalIPs = "10.96.0.1", []string{"10.96.0.1"}, nil
		}
		s.Spec.Ports[0].Port = rapid.SampledFrom([]int32{443, 6443}).Draw(t, "port")
		if rapid.Bool().Draw(t, "local") {
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
		return s
	}
	for _, mode := range []Mode{Direct, Image} {
		t.Run(string(mode), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := model.New(model.Node{Name: world.Node})
				c := config(mode)
				c.Protected = []netip.AddrPort{netip.MustParseAddrPort("192.168.50.200:443")}
				table := NewTable(c, facts)
				kept := asState(t, table)
				there := map[string]*corev1.Service{}
				var servers, behind []string // behind a
				for range rapid.IntRange(1, 20).Draw(t, "steps") {
					switch rapid.IntRange(0, 5).Draw(t, "step") {
					case 2:
						behind = rapid.SliceOfNDistinct(rapid.SampledFrom(ips[:3]), 0, 2, rapid.ID).Draw(t, "behind a")
						m.ApplySlice(endpointsOf("a", 6443, behind...), "")
					case 0:
						s := draw(t)
						delete(there, s.Name)
						m.DeleteService(model.Key{Namespace: s.Namespace, Name: s.Name})
					case 1:
						servers = rapid.SliceOfNDistinct(rapid.SampledFrom(ips[:2]), 0, 2, rapid.ID).Draw(t, "API servers")
						m.ApplySlice(endpointsOf("kubernetes", 6443, servers...), "")
					default:
						s := draw(t)
						there[s.Name] = s
						m.ApplyService(s, "")
					}
					apply(kept, table.Update(m, m.TakeDirty()))
					guarded := servers
					if there["kubernetes"] == nil {
						guarded = nil
					}
					for _, ip := range ips {
						for _, port := range []int32{443, 6443} {
							at := fmt.Sprintf("%s:%d", ip, port)
							if got, want := owner(table, at), rightful(there, guarded, behind, ip, port); got != want {
								t.Fatalf("%s is %s's, want %s\n%s", at, got, want, said(table))
							}
						}
					}
				}
				if diff := cmp.Diff(lines(asState(t, table)), lines(kept)); diff != "" {
					t.Fatalf("steps do not add up to what the table holds (-table +steps):\n%s", diff)
				}
				fresh := NewTable(c, facts)
				fresh.Update(m, m.Keys())
				if diff := cmp.Diff(lines(asState(t, fresh)), lines(kept)); diff != "" {
					t.Fatalf("steps do not add up to what comes from nothing (-nothing +steps):\n%s", diff)
				}
				if diff := cmp.Diff(said(fresh), said(table)); diff != "" {
					t.Fatalf("another is told than from nothing (-nothing +steps):\n%s", diff)
				}
			})
		})
	}
}

// rightful returns the Service that must have an address, by looking at all Services.
func rightful(all map[string]*corev1.Service, servers, behind []string, ip string, port int32) string {
	best, class := "nobody", 9
	admitted := ip == "192.168.50.200" && port == 443 && len(behind) > 0 &&
		!slices.ContainsFunc(behind, func(e string) bool { return !slices.Contains(servers, e) })
	var age time.Time
	if slices.Contains(servers, ip) && port == 6443 || ip == "192.168.50.200" && port == 443 {
		class = 2
	}
	for _, name := range []string{"a", "b", "c", "kubernetes"} {
		s := all[name]
		if s == nil || s.Spec.Ports[0].Port != port {
			continue
		}
		mine := 9
		switch {
		case s.Spec.ClusterIP == ip && name == "kubernetes":
			mine = 0
		case s.Spec.ClusterIP == ip && ip != "192.168.50.1" && !slices.Contains(servers, ip) && ip != "192.168.50.200":
			mine = 3
		case name == "a" && admitted && slices.Contains(s.Spec.ExternalIPs, ip):
			mine = 1
		case slices.Contains(s.Spec.ExternalIPs, ip):
			mine = 4
		}
		if mine < class || mine == class && mine < 9 && s.CreationTimestamp.Time.Before(age) {
			best, class, age = "default/"+name, mine, s.CreationTimestamp.Time
		}
	}
	return best
}
