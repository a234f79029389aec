package status

import (
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/state"
)

func TestBoardRemembersTheLast(t *testing.T) {
	b := &Board{}
	start := time.Unix(1e9, 0)
	for i := range 100 {
		b.Observe(&report.Round{Number: uint64(i), Started: start.Add(time.Duration(i) * time.Second), Took: time.Millisecond,
			Services: 1, Ops: map[report.Write]int{{Verb: "add", Kind: "real server"}: 2}, Kernel: kernel.Stats{Messages: 3}})
		b.Observe(&report.Round{Number: uint64(i)}) // nothing was to be done
	}
	if got := b.changes(); got != 0 {
		t.Errorf("frontends have changed %d times", got)
	}
	many, unread := make([]report.Drift, 200), errors.New("no netlink")
	for i := range many {
		many[i] = report.Drift{ID: state.LinkID(), What: fmt.Sprint(i)}
	}
	b.Observe(&report.Round{Number: 100, Started: start, Took: time.Second, Full: true, Drift: many[:1]})
	b.Observe(&report.Round{Number: 101, Full: true, Started: start.Add(time.Hour), Drift: many, Failures: []report.Failure{{Err: errors.New("no")}}})
	b.Observe(&report.Round{Number: 102, Full: true, Started: start.Add(2 * time.Hour), Err: unread, Unread: unread})
	b.Observe(&report.Round{Number: 103, Unread: unread, Ops: map[report.Write]int{{Verb: "delete", Kind: "entry"}: 1}})
	var v View
	b.tell(&v)
	if len(v.Rounds) != 60 || v.Rounds[0].Number != 44 || v.Rounds[59].Number != 103 {
		t.Errorf("%d rounds, from %d to %d", len(v.Rounds), v.Rounds[0].Number, v.Rounds[59].Number)
	}
	if r := v.Rounds[0]; r.Writes != 2 || r.Messages != 3 || r.Took != 0.001 || r.Kind != KindChange || !r.Started.Equal(start.Add(44*time.Second)) {
		t.Errorf("%+v", r)
	}
	if r := v.Rounds[57]; r.Kind != KindFull || r.Failed != 1 || r.Drift != 200 {
		t.Errorf("%+v", r)
	}
	for _, r := range v.Rounds[58:] {
		if r.Err != "no netlink" {
			t.Errorf("%+v", r)
		}
	}
	if len(v.Drift) != 51 || v.Drift[0].What != "0" || !v.Drift[0].Found.Equal(start.Add(time.Second)) || !v.LastAudit.Equal(start.Add(time.Hour)) {
		t.Errorf("%d drifts, first %+v, last audit %v", len(v.Drift), v.Drift[0], v.LastAudit)
	}
	if got := b.changes(); got != 4 {
		t.Errorf("frontends have changed %d times, want 4", got)
	}
}

// Text and what it stands on differ by the 4.5 to 1 that WCAG 2.2 asks for
// (1.4.3), in both palettes.
func TestContrast(t *testing.T) {
	light, dark, ok := strings.Cut(style, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("there is no dark palette")
	}
	for name, css := range map[string]string{"light": light, "dark": dark[:strings.Index(dark, "}")]} {
		colors := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z]+): #([0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		for _, front := range []string{"fg", "muted", "link", "good", "bad", "warn"} {
			for _, back := range []string{"bg", "head"} {
				if got := contrast(colors[front], colors[back]); got < 4.5 {
					t.Errorf("%s: %s on %s: %.2f", name, front, back, got)
				}
			}
		}
	}
}

// luminance is that of WCAG 2.2, "relative luminance".
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(a, b float64) float64 { return (max(a, b) + 0.05) / (min(a, b) + 0.05) }

// The shape of /state is described for those who write programs for it.
func TestStateIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/status-page.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"view.go", "node.go", "board.go"} {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`json:\"([A-Za-z]+)").FindAllStringSubmatch(string(src), -1) {
			if m[1] != "vips" && m[1] != "unpublished" && !strings.Contains(string(text), "`"+m[1]+"`") {
				t.Errorf("docs/status-page.md does not name %s of %s", m[1], file)
			}
		}
	}
}

// Audits that find nothing do not push out what was done.
func TestBoardKeepsWhatWasDone(t *testing.T) {
	b := &Board{}
	b.Observe(&report.Round{Number: 1, Services: 1})
	for i := range 2 * roundsKept {
		b.Observe(&report.Round{Number: uint64(2 + i), Audited: true})
	}
	var v View
	b.tell(&v)
	if len(v.Rounds) != 2 || v.Rounds[0].Number != 1 || v.Rounds[1].Number != 2*roundsKept+1 {
		t.Errorf("rounds %+v", v.Rounds)
	}
}
