package desired

import (
	"net/netip"
	"strings"
	"testing"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/state"
)

func printed(p *Preview) string {
	var out strings.Builder
	p.Print(&out)
	return out.String()
}

// Without all manifests it is not said that all is well.
func TestPlanOfWhatCanBeRead(t *testing.T) {
	p := &Preview{Problems: []model.Problem{{Origin: "a.yaml", Message: "cannot be read: permission denied"}}}
	want := "problem: a.yaml: cannot be read: permission denied\n" +
		"some manifests cannot be read, as these problems say: until they can, run removes and refuses nothing\nnothing to do for those that can be read\n"
	if got := printed(p); got != want {
		t.Errorf("%q", got)
	}
}

// What goes has no Service to name.
func TestPlanSaysWhyThingsGo(t *testing.T) {
	web := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:80"))
	real := state.RealServerID(web, netip.MustParseAddrPort("10.244.0.11:8080"))
	for want, op := range map[string]state.Op{
		"no Service needs it": {Verb: state.Delete, ID: web},
		"no Service needs it: it goes when its connections have ended": {Verb: state.Change, Drains: true, ID: real, Spec: state.Weight(0), Old: state.Weight(1)},
		"needed by all Services": {Verb: state.Change, ID: state.RulesID(state.IPv4)},
	} {
		if got := (&Preview{}).reason(op); got != want {
			t.Errorf("%s: %q, want %q", op, got, want)
		}
	}
}

// Reasons stand below each other, whatever one write has to tell.
func TestPlanIsAligned(t *testing.T) {
	web := state.VirtualServerID(state.TCP, netip.MustParseAddrPort("10.96.0.10:80"))
	real := state.RealServerID(web, netip.MustParseAddrPort("10.244.0.11:8080"))
	long := state.Intern(state.Spec{Condition: state.Differs, Text: strings.Repeat("- nat -A KIPVS-PRE; ", 20)})
	p := &Preview{
		Complete: true, Why: map[state.ID]string{web: "default/web: ClusterIP", real: "default/web: endpoint"},
		Plan: state.Plan{
			{Verb: state.Change, ID: state.RulesID(state.IPv4), Spec: state.None, Old: long},
			{Verb: state.Add, ID: web, Spec: state.Intern(state.Spec{Scheduler: "rr", Flags: state.FlagOurs})},
			{Verb: state.Add, ID: real, Spec: state.Weight(1)},
		},
	}
	lines := strings.Split(printed(p), "\n")
	if len(lines) != 5 || len(lines[0]) < 300 {
		t.Fatalf("%q", lines)
	}
	at := strings.Index(lines[1], "default/web: ")
	if at < 0 || at > 100 || at != strings.Index(lines[2], "default/web: ") {
		t.Errorf("%q", lines)
	}
}
