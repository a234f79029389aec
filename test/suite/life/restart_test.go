package life

import "testing"

// After every kind of end, the next kube-ipvs finds the node programmed.
func TestRestart(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		d := n.start()
		n.settled()
		want := n.snapshot()
		for _, end := range []struct {
			how string
			do  func(*daemon)
		}{{"SIGTERM", (*daemon).stop}, {"SIGKILL", (*daemon).kill}} {
			end.do(d)
			n.same(end.how+" changed what is programmed", want, n.snapshot())
			d = n.start()
			d.wroteNothing()
			n.same("the start after "+end.how+" changed what is programmed", want, n.snapshot())
		}
		d.stop()
	})
}

// An operator set a real server to weight 0 while no kube-ipvs ran. The start restores
// the weight, and writes nothing else.
func TestRestartMendsWeight(t *testing.T) {
	inModes(t, func(t *testing.T, n *node) {
		n.enrich()
		d := n.start()
		n.settled()
		want := n.snapshot()
		d.stop()
		n.sh("ipvsadm -e -t %s:80 -r 10.244.0.2:8080 -m -w 0", n.server(10))
		if difference(want, n.snapshot()) == "" {
			t.Fatal("the snapshot does not show weights")
		}
		d = n.start()
		if r := d.first(); r.Writes != 1 || r.Failed != 0 {
			t.Errorf("the first round: writes=%d failed=%d, want 1 and 0", r.Writes, r.Failed)
		}
		n.same("the weight is not mended", want, n.snapshot())
		d.stop()
	})
}
