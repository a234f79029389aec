package wire

import (
	"context"
	"fmt"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestBridge has the pods on a bridge of the node. With br_netfilter the kernel sends
// errors for a bridged packet past conntrack: a refusal must come from the dialled
// address.
func TestBridge(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		unlimitICMP(t)
		empty := testbed.Service{Name: "empty", Number: 1, Type: "LoadBalancer", External: true}
		web := testbed.Service{Name: "web", Number: 2, Type: "LoadBalancer", External: true}
		own := testbed.Service{Name: "own", Number: 3, Type: "LoadBalancer", External: true}
		local := testbed.Service{Name: "local", Number: 4, Type: "LoadBalancer", Spec: append([]string{"internalTrafficPolicy: Local"}, externalLocal...)}
		serve(t, d, nil, empty)
		serve(t, d, testbed.Backends(bed.P2, bed.R1), web, local)
		serve(t, d, testbed.Backends(bed.P1), own)
		for _, how := range []testbed.Bridge{{Hairpin: true, Netfilter: true}, {Netfilter: true}, {Hairpin: true}} {
			t.Run(fmt.Sprintf("%+v", how), func(t *testing.T) {
				bridge(t, how)
				refused(t, 2, requests(empty.Frontends(), bed.C1, bed.Node, bed.Ext)...)
				answered(t, requests(web.Outside(), bed.C1, bed.Node, bed.Ext), anyone, "p2", "r1")
				answered(t, requests(local.Outside(), bed.Ext), bed.Ext, "p2")
				if !how.Netfilter { // answers between pods of the bridge are not translated then
					return
				}
				answered(t, requests([]testbed.Frontend{web.ClusterIP()}, bed.C1), bed.C1, "p2", "r1")
				answered(t, requests([]testbed.Frontend{local.ClusterIP()}, bed.C1), bed.C1, "p2")
				if how.Hairpin {
					answered(t, requests(own.Frontends(), bed.P1), anyone, "p1")
				}
			})
		}
	})
}

// bridge joins the pods by a bridge, until the test ends or asks for another.
func bridge(t *testing.T, how testbed.Bridge) {
	t.Helper()
	if _, err := bed.Bridge(t.Context(), how); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Unbridge(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}
