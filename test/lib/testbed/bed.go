// Package testbed builds a small cluster of network namespaces around the
// node under test, which is the namespace of the calling process: a second
// node, an outside client, pods on both nodes. Listeners answer with their
// name and the peer address that they see, so that a test knows the
// endpoint that answered and the source that it saw.
//
//	ext 192.168.50.2 ──┐            ┌── p1 10.244.0.11, p2 .12, c1 .21 (pods of this node)
//	node2 192.168.50.3 ┴─ lan ─ node 192.168.50.1
//	  └── r1 10.244.1.31, rc .41 (pods of node2)
//
// IPv6: fd50::N for the LAN, fd44::N for pods. It needs root and must run
// where nothing else lives: in the lab.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one network namespace.
type Host struct {
	Name       string
	IPv4, IPv6 netip.Addr
	ns         int // file descriptor of the namespace
	jobs       chan job
}

// IP returns the host's address of the family of a.
func (h *Host) IP(like netip.Addr) netip.Addr {
	if like.Is4() {
		return h.IPv4
	}
	return h.IPv6
}

// Bed is the cluster.
type Bed struct {
	Node, Node2, Ext      *Host
	P1, P2, C1            *Host // pods of the node; p1 and p2 listen, c1 is a client
	R1, RC                *Host // pods of node2
	hosts                 []*Host
	PodCIDR4, PodCIDR6    netip.Prefix
	LBPool4, ServiceCIDR4 netip.Prefix
	ServiceCIDR6, LBPool6 netip.Prefix
	listeners             []func()
	renewed               int // how often the node has been
}

type spec struct {
	name, v4, v6 string
}

var lan = []spec{{"node", "192.168.50.1", "fd50::1"}, {"ext", "192.168.50.2", "fd50::2"}, {"node2", "192.168.50.3", "fd50::3"}}

var pods = []struct {
	spec
	on string
}{
	{spec{"p1", "10.244.0.11", "fd44::11"}, "node"},
	{spec{"p2", "10.244.0.12", "fd44::12"}, "node"},
	{spec{"c1", "10.244.0.21", "fd44::21"}, "node"},
	{spec{"r1", "10.244.1.31", "fd44::1:31"}, "node2"},
	{spec{"rc", "10.244.1.41", "fd44::1:41"}, "node2"},
}

// New builds the cluster in the calling process's network namespace.
func New(ctx context.Context) (*Bed, error) {
	if err := shell(ctx, script()); err != nil {
		return nil, err
	}
	b := &Bed{
		PodCIDR4: netip.MustParsePrefix("10.244.0.0/16"), PodCIDR6: netip.MustParsePrefix("fd44::/64"),
		ServiceCIDR4: netip.MustParsePrefix("10.96.0.0/16"), ServiceCIDR6: netip.MustParsePrefix("fd96::/112"),
		LBPool4: netip.MustParsePrefix("192.168.50.192/27"), LBPool6: netip.MustParsePrefix("fd50::200/121"),
	}
	for name, at := range map[string]**Host{"node": &b.Node, "ext": &b.Ext, "node2": &b.Node2, "p1": &b.P1, "p2": &b.P2, "c1": &b.C1, "r1": &b.R1, "rc": &b.RC} {
		h, err := open(name)
		if err != nil {
			return nil, err
		}
		*at = h
		b.hosts = append(b.hosts, h)
	}
	return b, b.ready(ctx)
}

// ready waits until no host looks for duplicates of its own addresses any
// more: until then it cannot ask for those of its neighbours.
func (b *Bed) ready(ctx context.Context) error {
	for _, h := range b.hosts {
		err := Await(ctx, 10*time.Second, func() error {
			out, err := h.Shell(ctx, "ip -6 addr show tentative")
			if err == nil && out != "" {
				err = fmt.Errorf("%s has tentative addresses:\n%s", h.Name, out)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// own is the namespace of this process. Later /proc/self may show that of a host, to which the
// process's first thread has gone for a job.
var own, errOwn = openNamespace("/proc/self/ns/net")

func open(name string) (*Host, error) {
	var fd int
	var err error
	if name == "node" {
		if fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return nil, errors.Join(errOwn, os.NewSyscallError("fcntl", err))
		}
	} else if fd, err = openNamespace("/run/netns/" + name); err != nil {
		return nil, err
	}
	all := slices.Concat(lan, outside, edges)
	for _, p := range pods {
		all = append(all, p.spec)
	}
	for _, s := range all {
		if s.name == name {
			return &Host{Name: name, IPv4: netip.MustParseAddr(s.v4), IPv6: netip.MustParseAddr(s.v6), ns: fd, jobs: make(chan job)}, nil
		}
	}
	return nil, fmt.Errorf("no host %s", name)
}

func openNamespace(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open namespace %s: %w", path, err)
	}
	return fd, nil
}

// Close ends all listeners and removes the namespaces and links.
func (b *Bed) Close() {
	if b == nil {
		return
	}
	for _, stop := range b.listeners {
		stop()
	}
	for _, h := range b.hosts {
		_ = unix.Close(h.ns)
	}
	var s strings.Builder
	for _, p := range pods {
		fmt.Fprintf(&s, "ip netns del %s\n", p.name)
	}
	if b.renewed > 0 {
		fmt.Fprintf(&s, "ip netns del node-%d; ip link del own0\n", b.renewed)
	}
	s.WriteString("for ns in router far edge1 edge2 edge3; do ip netns del $ns 2>/dev/null || true; done\n")
	s.WriteString("ip netns del ext; ip netns del node2; ip netns del lan; ip link del eth0 2>/dev/null || true\n")
	if err := shell(context.Background(), s.String()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// Do runs f on a thread in the host's namespace. Threads are kept for a while, since
// making one would take most of the time of a short request.
func (h *Host) Do(f func() error) error {
	j := job{f, make(chan error, 1)}
	select {
	case h.jobs <- j:
	default:
		go h.work(j)
	}
	return <-j.done
}

// job is something to do in a host's namespace.
type job struct {
	f    func() error
	done chan error
}

// idle is how long a thread waits for more to do.
const idle = time.Second

// work does a job, and others that come up soon after it.
func (h *Host) work(j job) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := unix.Setns(h.ns, unix.CLONE_NEWNET); err != nil {
		j.done <- fmt.Errorf("enter namespace of %s: %w", h.Name, err)
		return
	}
	rest := time.NewTimer(idle)
	for {
		j.done <- j.f()
		rest.Reset(idle)
		select {
		case j = <-h.jobs:
		case <-rest.C:
			return
		}
	}
}

// Shell runs a script in the host's namespace and returns its output.
func (h *Host) Shell(ctx context.Context, script string) (string, error) {
	var out []byte
	err := h.Do(func() error {
		var err error
		out, err = exec.CommandContext(ctx, "sh", "-ec", script).CombinedOutput()
		return err
	})
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s", script, h.Name, err, out)
	}
	return string(out), nil
}

func shell(ctx context.Context, script string) error {
	out, err := exec.CommandContext(ctx, "sh", "-ec", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("set up the test bed: %w: %s", err, out)
	}
	return nil
}

// script returns the commands that build the cluster.
func script() string {
	var s strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	w("ip link set lo up; ip netns add lan; ip -n lan link set lo up; ip -n lan link add br0 type bridge; ip -n lan link set br0 up")
	for _, h := range lan {
		ns := ""
		if h.name != "node" {
			w("ip netns add %s; ip -n %s link set lo up", h.name, h.name)
			ns = "netns " + h.name
		}
		w("ip link add l%s netns lan type veth peer name eth0 %s; ip -n lan link set l%s master br0 up", h.name, ns, h.name)
		address(w, h, inside(h.name))
	}
	for _, p := range pods {
		pod(w, p.spec, p.on)
	}
	routes(w)
	return s.String()
}

// inside is how ip is called for a host of the bed.
func inside(host string) string {
	if host == "node" {
		return "ip"
	}
	return "ip -n " + host
}

// address gives a host its addresses on the LAN.
func address(w func(string, ...any), h spec, in string) {
	w("%[1]s addr add %[2]s/24 dev eth0; %[1]s -6 addr add %[3]s/64 dev eth0 nodad; %[1]s link set eth0 up", in, h.v4, h.v6)
}

// pod adds a pod: a namespace with /32 and /128 addresses, routed by its node.
func pod(w func(string, ...any), p spec, on string) {
	ns, node := "", lan[0]
	if on != "node" {
		ns, node = "netns "+on, lan[2]
	}
	w("ip netns add %[1]s; ip -n %[1]s link set lo up", p.name)
	w("ip link add v%s %s type veth peer name eth0 netns %s", p.name, ns, p.name)
	w("ip -n %[1]s link set eth0 up; ip -n %[1]s addr add %[2]s/32 dev eth0; ip -n %[1]s -6 addr add %[3]s/128 dev eth0 nodad", p.name, p.v4, p.v6)
	route(w, p, node, inside(on))
	uplink(w, p.name)
}

// uplink has a pod send all that it sends to its node.
func uplink(w func(string, ...any), pod string) {
	w("ip -n %[1]s route replace 169.254.1.1 dev eth0; ip -n %[1]s route replace default via 169.254.1.1 dev eth0; ip -n %[1]s -6 route replace default via fe80::1 dev eth0", pod)
}

// route has a node reach one of its pods, to which it talks from its own address.
func route(w func(string, ...any), p, node spec, in string) {
	w("%[1]s link set v%[2]s up; %[1]s addr add 169.254.1.1/32 dev v%[2]s scope link; %[1]s -6 addr add fe80::1/64 dev v%[2]s nodad", in, p.name)
	w("%[1]s route add %[3]s/32 dev v%[2]s src %[5]s; %[1]s -6 route add %[4]s/128 dev v%[2]s src %[6]s", in, p.name, p.v4, p.v6, node.v4, node.v6)
}

// routes lets the nodes reach each other's pods, and the outside reach the frontends
// of the node.
func routes(w func(string, ...any)) {
	nodeRoutes(w, inside("node"))
	for _, p := range pods {
		if p.on == "node" {
			w("ip -n node2 route add %s/32 via %s; ip -n node2 -6 route add %s/128 via %s", p.v4, lan[0].v4, p.v6, lan[0].v6)
		}
	}
	for _, n := range []string{"ext", "node2"} {
		w("ip -n %[1]s route add 10.96.0.0/16 via 192.168.50.1; ip -n %[1]s route add 192.168.50.192/27 via 192.168.50.1", n)
		w("ip -n %[1]s -6 route add fd96::/112 via fd50::1; ip -n %[1]s -6 route add fd50::200/121 via fd50::1", n)
	}
	w("ip netns exec node2 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	// A redirect would let clients past the node that they are to test.
	for _, n := range []string{"ext", "node2"} {
		w("ip netns exec %s sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.eth0.accept_redirects=0 net.ipv6.conf.eth0.accept_redirects=0", n)
	}
	w("sysctl -qw %s", noRedirects)
}

const noRedirects = "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0"

// nodeRoutes lets the node reach the pods of the other, and the world.
func nodeRoutes(w func(string, ...any), in string) {
	for _, p := range pods {
		if p.on != "node" {
			w("%s route add %s/32 via %s; %s -6 route add %s/128 via %s", in, p.v4, lan[2].v4, in, p.v6, lan[2].v6)
		}
	}
	w("%[1]s route add default via 192.168.50.254; %[1]s -6 route add default via fd50::fe", in)
}
