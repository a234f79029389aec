package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// loadBalancers are the first parts of the addresses that balancer gives, and client4
// is the client of these: an address far from those of nodes, which tests distinguish
// from it. A packet that no node takes vanishes, as behind a router.
const (
	loadBalancers = "192.168.70."
	client4       = "172.31.0.1"
	nowhere       = "nowhere"
)

// cleanup keeps a Service until its address has been taken back.
const cleanup = "service.kubernetes.io/load-balancer-cleanup"

// balancer does for Services of type LoadBalancer what an announcer of addresses does on a
// LAN: it gives each an IPv4 address, and the control plane a route to it by the nodes
// that take its traffic.
type balancer struct {
	c      *Cluster
	client http.Client
	given  map[string]string // address by the Service's UID
	routed map[string]string // nexthops by address
}

// startBalancer starts a balancer, which works until Close. It tries failures again.
func (c *Cluster) startBalancer(ctx context.Context) error {
	log, err := os.Create(c.path("log", "balancer.log"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	c.stopBalancer = func() {
		cancel()
		<-done
	}
	b := &balancer{c: c, client: http.Client{Timeout: time.Second}, given: map[string]string{}, routed: map[string]string{}}
	go func() {
		defer close(done)
		defer log.Close()
		for ctx.Err() == nil {
			if err := b.round(ctx); err != nil {
				fmt.Fprintln(log, time.Now().Format(time.TimeOnly), err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return nil
}

func (b *balancer) round(ctx context.Context) error {
	list, err := b.c.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	want := map[string]string{}
	for i := range list.Items {
		s := &list.Items[i]
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.LoadBalancerClass != nil || s.DeletionTimestamp != nil {
			if err := b.release(ctx, s); err != nil {
				return err
			}
			continue
		}
		if err := b.give(ctx, s); err != nil {
			return err
		}
		if nexthops := b.nexthops(ctx, s); nexthops != "" {
			want[b.given[string(s.UID)]] = nexthops
		}
	}
	return b.route(ctx, want)
}

// give sees to it that a Service has an address and the finalizer.
func (b *balancer) give(ctx context.Context, s *corev1.Service) error {
	uid := string(s.UID)
	if b.given[uid] == "" {
		b.given[uid] = b.free()
	}
	services := b.c.client.CoreV1().Services(s.Namespace)
	if !slices.Contains(s.Finalizers, cleanup) {
		s.Finalizers = append(s.Finalizers, cleanup)
		updated, err := services.Update(ctx, s, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		*s = *updated
	}
	if len(s.Status.LoadBalancer.Ingress) > 0 {
		return nil
	}
	mode := corev1.LoadBalancerIPModeVIP
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: b.given[uid], IPMode: &mode}}
	_, err := services.UpdateStatus(ctx, s, metav1.UpdateOptions{})
	return err
}

func (b *balancer) free() string {
	used := slices.Collect(maps.Values(b.given))
	for i := 1; ; i++ {
		if address := fmt.Sprint(loadBalancers, i); !slices.Contains(used, address) {
			return address
		}
	}
}

// release takes back an address of give.
func (b *balancer) release(ctx context.Context, s *corev1.Service) error {
	if !slices.Contains(s.Finalizers, cleanup) {
		return nil
	}
	services := b.c.client.CoreV1().Services(s.Namespace)
	if len(s.Status.LoadBalancer.Ingress) > 0 {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
		updated, err := services.UpdateStatus(ctx, s, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		*s = *updated
	}
	s.Finalizers = slices.DeleteFunc(s.Finalizers, func(f string) bool { return f == cleanup })
	if _, err := services.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		return err
	}
	delete(b.given, string(s.UID))
	return nil
}

// nexthops are the nodes that take a Service's traffic, which with the policy Local they
// say themselves. Each node remembers for itself which endpoint a client has; with
// affinity it is one node that all clients are sent to.
func (b *balancer) nexthops(ctx context.Context, s *corev1.Service) string {
	var words []string
	for _, name := range b.c.names() {
		address := nodeAddress(name)
		if port := s.Spec.HealthCheckNodePort; port == 0 || b.healthy(ctx, fmt.Sprintf("http://%s:%d/", address, port)) {
			words = append(words, "nexthop", "via", address)
		}
		if len(words) > 0 && s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			break
		}
	}
	return strings.Join(words, " ")
}

func (b *balancer) healthy(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	answer, err := b.client.Do(req)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// route makes the routes those that are wanted.
func (b *balancer) route(ctx context.Context, want map[string]string) error {
	for address, nexthops := range want {
		if b.routed[address] == nexthops {
			continue
		}
		if err := ip(ctx, "route replace "+address+" src "+client4+" "+nexthops); err != nil {
			return err
		}
		b.routed[address] = nexthops
	}
	for address := range b.routed {
		if want[address] != "" {
			continue
		}
		if err := ip(ctx, "route delete "+address); err != nil {
			return err
		}
		delete(b.routed, address)
	}
	return nil
}

func ip(ctx context.Context, args string) error {
	if out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}
