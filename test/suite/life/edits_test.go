package life

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// After a history of edits the kernel holds what a start over the last state programs.
func TestEditsComeToWhatAFreshStartMakes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("KUBE_IPVS_SEED"); given != "" {
		seed, _ = strconv.ParseUint(given, 10, 64)
	}
	t.Logf("KUBE_IPVS_SEED=%d", seed)
	inModes(t, func(t *testing.T, n *node) {
		e := &editor{Rand: rand.New(rand.NewPCG(seed, 1)), n: n, held: map[string][]spec{}}
		before := n.snapshot()
		d := n.start()
		for i := range 100 {
			e.edit()
			if i%5 == 0 { // otherwise edits run into each other
				n.settled()
			}
		}
		n.settled()
		got := n.snapshot()
		var said []string // since the round before
		for _, r := range d.records() {
			if said = append(said, strings.TrimSpace(r.Level+" "+r.Msg+" "+r.Op+r.Err+r.Object+" "+r.What)); r.Round == 0 {
				continue
			}
			if r.Failed != 0 || r.Drift != 0 {
				t.Errorf("round %d: failed=%d drift=%d: %q", r.Round, r.Failed, r.Drift, said)
			}
			said = nil
		}
		d.stop()
		n.cleanup()
		n.same("after cleanup the node is not as before", before, n.snapshot())
		d = n.start()
		n.settled()
		n.same("the edits left something else than a fresh start makes", n.snapshot(), got)
		d.stop()
	})
}

// editor edits the manifests of a node at random.
type editor struct {
	*rand.Rand
	n    *node
	held map[string][]spec // by file
}

const editedServices = 14

func (e *editor) chance(percent int) bool { return e.IntN(100) < percent }

func pick[T any](e *editor, of ...T) T { return of[e.IntN(len(of))] }

func (e *editor) file() string { return fmt.Sprintf("edited-%d.yaml", e.IntN(6)) }

// edit changes one file, or two when something moves from one to the other.
func (e *editor) edit() {
	name := e.file()
	specs := e.held[name]
	switch kind := e.IntN(10); {
	case len(specs) == 0 || kind < 2:
		if i, free := e.free(); free {
			e.held[name] = append(specs, e.spec(i))
		}
	case kind == 2:
		delete(e.held, name)
		e.n.remove(name)
		return
	case kind == 3:
		e.held[name] = specs[1:]
	case kind == 4:
		to := e.file()
		e.held[name] = specs[1:]
		e.held[to] = append(e.held[to], specs[0])
		e.write(to)
	case kind < 7:
		i := e.IntN(len(specs))
		number, _ := strconv.Atoi(specs[i].name[1:])
		specs[i] = e.spec(number)
	default:
		specs[e.IntN(len(specs))].endpoints = e.endpoints()
	}
	e.write(name)
}

func (e *editor) write(name string) { e.n.put(name, manifest(e.held[name]...)) }

// free returns the number of a Service that no file has.
func (e *editor) free() (int, bool) {
	used := map[string]bool{}
	for _, specs := range e.held {
		for _, s := range specs {
			used[s.name] = true
		}
	}
	for _, i := range e.Perm(editedServices) {
		if !used[fmt.Sprintf("s%d", i)] {
			return i, true
		}
	}
	return 0, false
}

func (e *editor) endpoints() []endpoint {
	var out []endpoint
	for _, id := range e.Perm(8)[:e.IntN(5)] {
		out = append(out, endpoint{id: id, here: id < 4, state: pick(e, "", "", "", "unready", "terminating", "dead")})
	}
	return out
}

// spec makes up a Service. Addresses from outside and node ports are few, so
// that Services quarrel about them.
func (e *editor) spec(i int) spec {
	s := spec{
		name: fmt.Sprintf("s%d", i), ips: both(100 + i), endpoints: e.endpoints(),
		kind:    pick(e, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer),
		localIn: e.chance(20), localOut: e.chance(40), scheduler: pick(e, "", "", "wrr", "lc", "mh"),
	}
	switch e.IntN(4) {
	case 0:
		s.ips = s.ips[:1]
	case 1:
		s.ips = s.ips[1:]
	case 2:
		s.ips[0], s.ips[1] = s.ips[1], s.ips[0]
	}
	if e.chance(25) {
		s.affinity = pick(e, int32(10), 10800)
	}
	if e.chance(30) {
		s.external = []string{pick(e, "192.168.50.210", "fd50::210"), "192.168.50.211"}[:1+e.IntN(2)]
	}
	nodePorts := e.Perm(6)
	for j, number := range e.Perm(3)[:1+e.IntN(3)] {
		p := corev1.ServicePort{Name: fmt.Sprintf("p%d", number), Port: int32(80 + number), Protocol: pick(e, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)}
		if s.kind != corev1.ServiceTypeClusterIP {
			p.NodePort = int32(30000 + nodePorts[j])
		}
		s.ports = append(s.ports, p)
	}
	if s.kind == corev1.ServiceTypeClusterIP && s.external == nil {
		s.localOut = false // an API server refuses it
	}
	if s.kind == corev1.ServiceTypeLoadBalancer {
		s.lb = []string{pick(e, "192.168.50.220", "192.168.50.221"), "fd50::220"}[:1+e.IntN(2)]
		if e.chance(40) {
			s.ranges = []string{"192.168.50.0/24", "0.0.0.0/0", "fd50::/64", "::/0"}[e.IntN(2) : 2+e.IntN(3)]
		}
	}
	return s
}
