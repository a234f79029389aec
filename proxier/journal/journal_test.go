package journal

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// A change has a line at level info, and what follows from it has none.
func TestRoundLines(t *testing.T) {
	rises := func() state.Reduced { return state.Reduced{state.ID{}: state.SlowStart} }
	writes := map[report.Write]int{{Verb: "change", Kind: "real server"}: 1}
	slice := report.Changes{Slices: 1}
	for _, tt := range []struct {
		name   string
		rounds []report.Round
		lines  int
	}{
		{"nothing", []report.Round{{Number: 2}}, 0},
		{"the first", []report.Round{{Number: 1}}, 1},
		{"a change", []report.Round{{Number: 2, Ops: writes, Changes: slice}}, 1},
		{"a change of nothing", []report.Round{{Number: 2, Changes: slice}}, 0},
		{"a change, and the end of its drain", []report.Round{{Number: 2, Ops: writes, Changes: slice, Draining: 1}, {Number: 3, Ops: writes}}, 1},
		{"a change in two parts", []report.Round{{Number: 2, Ops: writes, Changes: slice, Left: 5}, {Number: 3, Ops: writes}, {Number: 4, Ops: writes}}, 2},
		{"the node has changed", []report.Round{{Number: 2, Ops: writes, Full: true}}, 1},
		{"a weight rises", []report.Round{{Number: 2, Ops: writes, Reduced: rises}}, 0},
		{"a weight rises, and a change", []report.Round{{Number: 2, Ops: writes, Reduced: rises, Changes: slice}}, 1},
		{"a weight rises, in a full round", []report.Round{{Number: 2, Ops: writes, Reduced: rises, Full: true}}, 1},
	} {
		var log strings.Builder
		j := New(slog.New(slog.NewTextHandler(&log, nil)))
		for i := range tt.rounds {
			j.Round(&tt.rounds[i])
		}
		if got := strings.Count(log.String(), "\n"); got != tt.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", tt.name, got, tt.lines, &log)
		}
	}
}

// The line tells which Services have changed, but not at the start, when all have.
func TestRoundNames(t *testing.T) {
	three := []model.Key{{Namespace: "shop", Name: "cart"}, {Namespace: "shop", Name: "web"}, {Namespace: "zoo", Name: "web"}}
	for _, tt := range []struct {
		round report.Round
		want  string
	}{
		{report.Round{Number: 1, Services: 3, Changed: three}, " services=3 writes="},
		{report.Round{Number: 2, Services: 1, Changed: three[:1]}, " took=2ms full=true services=1 changed=shop/cart writes="},
		{report.Round{Number: 2, Services: 3, Changed: three}, " changed=shop/cart,shop/web,zoo/web writes="},
		{report.Round{Number: 2, Services: 4, Changed: three}, " changed=shop/cart,shop/web,zoo/web,... writes="},
		{report.Round{Number: 2}, " services=0 writes="},
	} {
		var log strings.Builder
		tt.round.Took, tt.round.Full, tt.round.Ops = 2*time.Millisecond, true, map[report.Write]int{{Verb: "add", Kind: "route"}: 1}
		if New(slog.New(slog.NewTextHandler(&log, nil))).Round(&tt.round); !strings.Contains(log.String(), tt.want) {
			t.Errorf("it has no %q: %s", tt.want, &log)
		}
	}
}
