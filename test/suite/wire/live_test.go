package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// TestSchedulerLive gives a Service one scheduler after the other, while connections are held
// and others come: none is lost and none fails.
func TestSchedulerLive(t *testing.T) {
	inModes(t, func(t *testing.T, d *testbed.Daemon) {
		names := append(schedulersHere(t), "mh,fallback", "mh,port", "sh,fallback,port", "rr")
		names = slices.DeleteFunc(names, func(name string) bool { return name == "dh" }) // see TestDrainWithout
		s := webService()
		serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), s)
		hs := hold(t, ways(s))
		end := stream(t, ways(s))
		for _, name := range names {
			s.Annotations = fmt.Sprintf("kube-ipvs/scheduler: %q", name)
			serve(t, d, testbed.Backends(bed.P1, bed.P2, bed.R1), s)
			has(t, name)
			alive(t, "with "+name, hs)
		}
		got := end()
		t.Logf("%d connections while the scheduler changed %d times: %v", got.sum(), len(names), got)
		got.expect(t, "while the scheduler changes", "p1", "p2", "r1")
	})
}

// has checks that all virtual servers have a scheduler, with its flags.
func has(t *testing.T, scheduler string) {
	t.Helper()
	name, flags, given := strings.Cut(scheduler, ",")
	want := " -s " + name
	switch {
	case given:
		for flag := range strings.SplitSeq(flags, ",") {
			want += map[bool]string{true: " -b ", false: ","}[!strings.Contains(want, " -b ")] + name + "-" + flag
		}
	case name == "mh":
		want += " -b mh-fallback,mh-port"
	case name == "sh":
		want += " -b sh-fallback"
	}
	servers := 0
	for line := range strings.Lines(on(t, bed.Node, "ipvsadm -Sn")) {
		if strings.HasPrefix(line, "-A") {
			if servers++; !strings.Contains(strings.TrimSpace(line)+" ", want+" ") {
				t.Errorf("want%s: %s", want, line)
			}
		}
	}
	if servers == 0 {
		t.Error("there are no virtual servers")
	}
}
