package journal

import (
	"log/slog"
	"strings"
	"testing"

	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

// A round has a line at level info, unless it does nothing that a change or a fault has asked for.
func TestRoundLines(t *testing.T) {
	rises := state.Reduced{state.ID{}: state.SlowStart}
	change := map[report.Write]int{{Verb: "change", Kind: "real server"}: 1}
	for _, tt := range []struct {
		name  string
		round report.Round
		lines int
	}{
		{"nothing", report.Round{Number: 2}, 0},
		{"the first", report.Round{Number: 1}, 1},
		{"a write", report.Round{Number: 2, Ops: change}, 1},
		{"a weight rises", report.Round{Number: 2, Ops: change, Reduced: rises}, 0},
		{"a weight rises, and a change", report.Round{Number: 2, Ops: change, Reduced: rises, Changes: report.Changes{Slices: 1}}, 1},
		{"a weight rises, in a full round", report.Round{Number: 2, Ops: change, Reduced: rises, Full: true}, 1},
	} {
		var log strings.Builder
		New(slog.New(slog.NewTextHandler(&log, nil))).Round(&tt.round)
		if got := strings.Count(log.String(), "\n"); got != tt.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", tt.name, got, tt.lines, &log)
		}
	}
}
