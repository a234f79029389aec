// Package reading holds kube-ipvs's reading of objects to that of API servers: by
// Kubernetes' own defaults and validation. It is a module of its own, so that the
// product's does not need all of Kubernetes.
package reading

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryv1defaults "k8s.io/kubernetes/pkg/apis/discovery/v1"
	discoveryvalidation "k8s.io/kubernetes/pkg/apis/discovery/validation"
	utilsnet "k8s.io/utils/net"
	"pgregory.net/rapid"

	"kube-ipvs/netutil/ipfamily"
	"kube-ipvs/proxier/model"
)

func TestMain(m *testing.M) {
	// As API servers up to 1.35 validate, and later ones for any objects that they
	// hold already.
	if err := utilfeature.DefaultMutableFeatureGate.Set("StrictIPCIDRValidation=false"); err != nil {
		panic(err)
	}
	flag.Parse()
	for name, value := range map[string]string{"rapid.seed": "37", "rapid.checks": "10000"} {
		given := false
		flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
		if !given {
			_ = flag.Set(name, value) // both are flags of rapid
		}
	}
	os.Exit(m.Run())
}

// leftOut are the values that API servers accept and kube-ipvs leaves out, each told
// at its field. There is no other.
var leftOut = []struct{ field, what, reason string }{
	{`^(spec\.(clusterIPs?|externalIPs)|status\.loadBalancer\.ingress)(\[\d\](\.ip)?)?$`,
		"is (a (loopback|link-local|multicast) address|the (unspecified|broadcast) address)",
		"no network leads such packets through this node, or they are the node's own, as to a metadata server at 169.254.169.254"},
	{`^spec\.clusterIPs$`, "no usable address is left", "it follows from the first"},
	{`^endpoints\[\d\]\.addresses\[0\]$`, "is (a multicast|the broadcast) address", "IPVS takes no such real server; API servers refuse the other special ones"},
	{`^ports\[\d\]\.port$`, "is not in 1..65535|has no port number", "API servers do not look at the number, and there is no such port; kube-proxy skips 0 and none"},
}

func special(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// told checks that all reported faults are in the list.
func told(t *rapid.T, m *model.Model) {
	for _, p := range m.Board().List() {
		if !slices.ContainsFunc(leftOut, func(l struct{ field, what, reason string }) bool {
			return regexp.MustCompile(l.field).MatchString(p.Field) && regexp.MustCompile(l.what).MatchString(p.Message)
		}) {
			t.Errorf("an API server accepts it: %s", p)
		}
	}
}

// accepts reports whether an API server takes the Service, which it completes.
func accepts(s *corev1.Service) bool {
	corev1defaults.SetObjectDefaults_Service(s)
	var in core.Service
	if err := corev1defaults.Convert_v1_Service_To_core_Service(s, &in, nil); err != nil {
		return false
	}
	errs := corevalidation.ValidateServiceCreate(&in)
	return len(append(errs, corevalidation.ValidateLoadBalancerStatus(&in.Status.LoadBalancer, nil, field.NewPath("status"), &in.Spec)...)) == 0
}

func acceptsSlice(s *discoveryv1.EndpointSlice) bool {
	discoveryv1defaults.SetObjectDefaults_EndpointSlice(s)
	var in discovery.EndpointSlice
	if err := discoveryv1defaults.Convert_v1_EndpointSlice_To_discovery_EndpointSlice(s, &in, nil); err != nil {
		return false
	}
	return len(discoveryvalidation.ValidateEndpointSliceCreate(&in)) == 0
}

// address returns the address that kube-proxy reads from a text.
func address(text string) netip.Addr {
	a, _ := netip.AddrFromSlice(utilsnet.ParseIPSloppy(text))
	return a.Unmap()
}

// wanted returns those of the addresses that are not special, each once, of a family
// in which the Service has a ClusterIP.
func wanted(texts []string, families []netip.Addr) (out []netip.Addr) {
	for _, text := range texts {
		a := address(text)
		served := families == nil || slices.ContainsFunc(families, func(f netip.Addr) bool { return f.Is4() == a.Is4() })
		if served && !special(a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// ranges returns ranges without those that lie in others.
func ranges(texts []string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		_, n, _ := utilsnet.ParseCIDRSloppy(strings.TrimSpace(text))
		all = append(all, netip.MustParsePrefix(n.String()))
	}
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool {
		return slices.ContainsFunc(all, func(o netip.Prefix) bool { return o.Bits() < p.Bits() && o.Overlaps(p) })
	})
}

// sorted returns the texts of different values.
func sorted[T fmt.Stringer](all []T) (out []string) {
	for _, v := range all {
		out = append(out, v.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// seen counts accepted values, by their oddity: a check of nothing passes.
var seen = map[string]int{}

func checkService(t *rapid.T) {
	s := drawService(t)
	if !accepts(s) {
		return
	}
	for _, oddity := range []string{`010.`, `::ffff:`, `239.`, ` 10.0.0.0/8`, `127.0.0.1`} {
		if strings.Contains(fmt.Sprint(s.Spec, s.Status), oddity) {
			seen[oddity]++
		}
	}
	m := model.New(model.Node{Name: "n"})
	m.ApplyService(s, "")
	told(t, m)
	got, _ := m.Service(model.Key{Namespace: s.Namespace, Name: s.Name})
	cluster := wanted(s.Spec.ClusterIPs, nil)
	if s.Spec.Type == corev1.ServiceTypeExternalName || slices.Contains(s.Spec.ClusterIPs, corev1.ClusterIPNone) || len(cluster) == 0 {
		if got != nil {
			t.Errorf("it is served: %+v", got)
		}
		return
	}
	if got == nil {
		t.Fatalf("it is not served: %+v", s)
	}
	var ingress []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" && *in.IPMode == corev1.LoadBalancerIPModeVIP {
			ingress = append(ingress, in.IP)
		}
	}
	same := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	same("cluster IPs", got.ClusterIPs, cluster)
	same("external IPs", got.ExternalIPs, wanted(s.Spec.ExternalIPs, cluster))
	same("load-balancer IPs", got.LoadBalancerIPs, wanted(ingress, cluster))
	same("source ranges", sorted(got.SourceRanges), sorted(ranges(s.Spec.LoadBalancerSourceRanges)))
	same("external policy Local", got.ExternalLocal, s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal)
	same("internal policy Local", got.InternalLocal, *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal)
	same("health-check node port", got.HealthCheckPort, s.Spec.HealthCheckNodePort)
	affinity := int32(0)
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		affinity = *s.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds
	}
	same("affinity", got.Affinity.Seconds(), affinity)
	for i, p := range s.Spec.Ports {
		same("port", got.Ports[i], model.Port{Name: p.Name, Protocol: p.Protocol, Port: uint16(p.Port), NodePort: uint16(p.NodePort)})
	}
}

func checkSlice(t *rapid.T) {
	s := drawSlice(t)
	if !acceptsSlice(s) {
		return
	}
	seen["slice"]++
	m := model.New(model.Node{Name: "n"})
	m.ApplySlice(s, "")
	told(t, m)
	var texts []string
	for _, e := range s.Endpoints {
		texts = append(texts, e.Addresses[0])
	}
	for i, p := range s.Ports {
		// A Service with this port alone, for the endpoints.
		m.ApplyService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "web"}, Spec: corev1.ServiceSpec{
			ClusterIPs: []string{"10.96.0.1", "fd96::1"}, Ports: []corev1.ServicePort{{Name: *p.Name, Protocol: *p.Protocol, Port: 80}}}}, "")
		var want []netip.AddrPort
		if p.Port != nil && *p.Port > 0 && *p.Port <= 65535 && s.AddressType != discoveryv1.AddressTypeFQDN {
			for _, a := range wanted(texts, nil) {
				want = append(want, netip.AddrPortFrom(a, uint16(*p.Port)))
			}
		}
		slices.SortFunc(want, netip.AddrPort.Compare)
		v, _ := m.View(model.Key{Namespace: s.Namespace, Name: "web"})
		if got := slices.Concat(v.Endpoints[ipfamily.IPv4][0].Cluster, v.Endpoints[ipfamily.IPv6][0].Cluster); !slices.Equal(got, want) {
			t.Errorf("endpoints of port %d are %v, want %v", i, got, want)
		}
	}
}

func TestServices(t *testing.T) {
	clear(seen)
	rapid.Check(t, checkService)
	t.Log("accepted:", seen)
	if len(seen) != 5 || slices.Min(slices.Collect(maps.Values(seen))) < 5 {
		t.Errorf("too few odd values were accepted: %v", seen)
	}
}

func TestSlices(t *testing.T) {
	clear(seen)
	rapid.Check(t, checkSlice)
	t.Log("accepted:", seen)
	if seen["slice"] < 100 {
		t.Errorf("too few slices were accepted: %v", seen)
	}
}

func FuzzServices(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkService)) }

func FuzzSlices(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkSlice)) }
