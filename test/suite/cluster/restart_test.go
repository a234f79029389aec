package cluster

import (
	"fmt"
	"testing"
	"time"

	"kube-ipvs/test/lib/testbed"
)

// Without the API server, and without etcd behind it, Services are served as before.
// Later changes arrive.
func TestControlPlaneKilled(t *testing.T) {
	begin(t)
	d := start(t)
	old := testbed.Service{Name: "old", Number: 1, Type: "NodePort"}
	apply(t, bed.With(old, testbed.Backends(bed.P1)))
	settled(t, d)
	l := press(t, request{bed.C1, "tcp", old.ClusterIP()}, request{bed.Node, "udp", old.ClusterIP()}, request{bed.Ext, "tcp", old.NodePort()})
	for i, which := range []struct {
		program *testbed.Program
		again   func() error
	}{
		{control.API, func() error { return control.StartAPI(t.Context()) }},
		{control.Etcd, func() error { return control.StartEtcd(t.Context()) }},
	} {
		must(t, which.program.Kill())
		l.more(t)
		must(t, which.again())
		changed := time.Now()
		fresh := testbed.Service{Name: fmt.Sprintf("new-%d", i), Number: 2 + i}
		await(t, func() error { return control.Apply(t.Context(), bed.With(fresh, testbed.Backends(bed.P2))) })
		// The daemon asks ever less often, but twice a minute.
		must(t, testbed.Await(t.Context(), time.Minute, func() error {
			return outcome(t.Context(), bed.C1, "tcp", fresh.ClusterIP(), true, []string{"p2"})
		}))
		t.Logf("%s is back, and a Service made then answers after %s", which.program.Name, time.Since(changed).Round(time.Millisecond))
	}
	settled(t, d)
	l.halt(t)
}

// cutOff has the daemon lose its connections to the API server. It returns a function
// that lets it have new ones.
func cutOff(t *testing.T) (mend func()) {
	t.Helper()
	undo, err := control.Cut(t.Context())
	must(t, err)
	mended := false
	mend = func() {
		if !mended {
			mended = true
			if err := undo(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(mend)
	// A change has something sent to the daemon, and its answer is refused.
	touched := 0
	await(t, func() error {
		touched++
		apply(t, fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: touched, annotations: {times: \"%d\"}}\nspec: {ports: [{port: 80}]}\n", touched))
		apply(t, fmt.Sprintf("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: touched, annotations: {times: \"%d\"}}\naddressType: IPv4\nendpoints: []\n", touched))
		if open := sh(t, bed.Node, "ss -Htn state established dst "+bed.Ext.IPv4.String()); open != "" {
			return fmt.Errorf("the node still has connections to the API server:\n%s", open)
		}
		return nil
	})
	return mend
}

// The API server cannot send forgotten events: the daemon reads all objects anew, and
// finds the deleted ones.
func TestCompaction(t *testing.T) {
	begin(t)
	d := start(t)
	var all []testbed.Service
	for i, name := range []string{"gone", "changed", "kept", "new"} {
		all = append(all, testbed.Service{Name: name, Number: 1 + i, Type: "NodePort"})
	}
	for _, s := range all[:3] {
		apply(t, bed.With(s, testbed.Backends(bed.P1)))
	}
	settled(t, d)
	mend := cutOff(t)
	must(t, control.Delete(t.Context(), "gone"))
	apply(t, bed.With(all[1], testbed.Backends(bed.P2)))
	apply(t, bed.With(all[3], testbed.Backends(bed.P2)))
	must(t, control.Compact(t.Context()))
	// A new API server has no memory of its own: only a client that reads all objects
	// learns of deleted ones.
	must(t, control.API.Kill())
	must(t, control.StartAPI(t.Context()))
	mend()
	must(t, testbed.Await(t.Context(), time.Minute, func() error {
		return outcome(t.Context(), bed.C1, "tcp", all[3].ClusterIP(), true, []string{"p2"})
	}))
	settled(t, d)
	reached(t, bed.C1, all[1].Frontends(), "p2")
	reached(t, bed.C1, all[2].Frontends(), "p1")
	if left := programmed(t, all[0].ClusterIP().V4.Addr().String()); left != "" {
		t.Errorf("objects that were deleted meanwhile are left:\n%s", left)
	}
	have := snapshot(t)
	must(t, d.Stop())
	cleanup(t)
	must(t, d.Restart())
	settled(t, d)
	same(t, have, snapshot(t))
}
