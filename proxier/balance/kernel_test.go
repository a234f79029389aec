package balance

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kube-ipvs/proxier/state"
	"kube-ipvs/test/lib/testbed"
)

// TestModelIsTheKernels holds wlc, by which the simulation chooses, to the kernel: for one
// virtual server with several weights, while connections are held and end in any order, both
// choose the same real server each time.
func TestModelIsTheKernels(t *testing.T) {
	if os.Getenv("KUBE_IPVS_LAB") != "1" {
		t.Skip("needs IPVS: make lab-test")
	}
	v := newVirtualServer(t, 1000, 1000, 300, 300, 7, 0)
	random := rand.New(rand.NewPCG(1, 2))
	type connection struct {
		client, server net.Conn
		to             *dest
	}
	var open []connection
	for i := range 400 {
		want := wlc(v.model)
		client, server, pod := v.connect(t)
		if pod != want.pod {
			t.Fatalf("connection %d: the kernel chose %d, the model %d of %+v", i, pod, want.pod, v.model)
		}
		want.Active++
		open = append(open, connection{client, server, want})
		for len(open) > 150 || len(open) > 0 && random.IntN(3) == 0 {
			at := random.IntN(len(open))
			c := open[at]
			open = append(open[:at], open[at+1:]...)
			_, _ = c.client.Close(), c.server.Close()
			c.to.Active--
			c.to.Inactive++
			v.settle(t)
		}
	}
	for _, c := range open {
		_, _ = c.client.Close(), c.server.Close()
	}
}

// virtualServer is one in the kernel, with real servers that are addresses of this machine,
// and the model of it.
type virtualServer struct {
	listener net.Listener
	model    []dest
}

const (
	vip  = "10.9.9.9:80"
	real = "10.9.8.%d"
)

func newVirtualServer(t *testing.T, weights ...uint32) *virtualServer {
	t.Helper()
	var script strings.Builder
	fmt.Fprintf(&script, "ip link set lo up; ip addr add 10.9.9.9/32 dev lo; ip route add local 10.9.8.0/24 dev lo; ipvsadm -A -t %s -s wlc\n", vip)
	v := &virtualServer{}
	for pod, weight := range weights {
		fmt.Fprintf(&script, "ipvsadm -a -t %s -r %s:8080 -m -w %d\n", vip, fmt.Sprintf(real, pod), weight)
		v.model = append([]dest{{pod, state.Load{Weight: weight}}}, v.model...)
	}
	shell(t, script.String())
	t.Cleanup(func() {
		shell(t, "ipvsadm -D -t "+vip+"; ip route del local 10.9.8.0/24 dev lo; ip addr del 10.9.9.9/32 dev lo")
	})
	var err error
	if v.listener, err = net.Listen("tcp4", ":8080"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.listener.Close() })
	return v
}

// connect opens a connection, and returns the pod that has it.
func (v *virtualServer) connect(t *testing.T) (client, server net.Conn, pod int) {
	t.Helper()
	client, err := net.DialTimeout("tcp4", vip, 5*time.Second)
	if err == nil {
		server, err = v.listener.Accept()
	}
	if err == nil {
		_, err = fmt.Sscanf(server.LocalAddr().String(), real+":8080", &pod)
	}
	if err != nil {
		t.Fatal(err)
	}
	return client, server, pod
}

// settle waits until the kernel has seen what has ended.
func (v *virtualServer) settle(t *testing.T) {
	t.Helper()
	err := testbed.Await(t.Context(), 5*time.Second, func() error {
		out := shell(t, "ipvsadm -Ln -t "+vip)
		for _, d := range v.model {
			want := fmt.Sprintf("-> %s:8080 Masq %d %d %d", fmt.Sprintf(real, d.pod), d.Weight, d.Active, d.Inactive)
			if !strings.Contains(strings.Join(strings.Fields(out), " ")+" ", want+" ") {
				return fmt.Errorf("no %q in:\n%s", want, out)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}
