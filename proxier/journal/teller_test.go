package journal

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"kube-ipvs/proxier/model"
)

// However many problems come at once, or come and go again and again at one object,
// the log gets few lines.
func TestProblemLinesAreBounded(t *testing.T) {
	var log strings.Builder
	var tl teller
	l := slog.New(slog.NewTextHandler(&log, nil))
	lines := func() int { return strings.Count(log.String(), "\n") }
	var many []model.Problem
	for i := range 1000 {
		many = append(many, model.Problem{Object: fmt.Sprintf("Service default/s%d", i), Message: "bad"})
	}
	tl.tell(l, many, nil)
	if n := lines(); n != logged+1 || !strings.Contains(log.String(), `msg="more problems" count=980`) {
		t.Errorf("%d lines of 1,000 problems:\n%s", n, log.String())
	}
	log.Reset()
	for i := range 1000 {
		one := []model.Problem{{Object: "Service default/one", Message: fmt.Sprint(i)}}
		tl.tell(l, one, nil)
		tl.tell(l, nil, one)
	}
	if n := lines(); n != linesEach+1 || !strings.Contains(log.String(), "this object has too many problems") {
		t.Errorf("%d lines of an object whose problems come and go:\n%s", n, log.String())
	}
	log.Reset()
	for i := range 5000 {
		one := []model.Problem{{Object: fmt.Sprintf("Service many/s%d", i), Message: "bad"}}
		tl.tell(l, one, nil)
		tl.tell(l, nil, one)
	}
	if n := lines(); n != linesNamespace+1 || strings.Count(log.String(), "this namespace has too many problems") != 1 {
		t.Errorf("%d lines of objects that come and go:\n%s", n, log.String())
	}
	for i := range 2 * linesNames {
		tl.tell(l, []model.Problem{{Object: fmt.Sprintf("Service n%d/s", i), Message: "bad"}}, nil)
	}
	if n := len(tl.lines); n > linesNames+2 {
		t.Errorf("%d names are counted", n)
	}
	log.Reset()
	tl.began = tl.began.Add(-linesSince - time.Second)
	tl.tell(l, []model.Problem{{Object: "Service default/one", Message: "again"}}, nil)
	if n := lines(); n != 1 {
		t.Errorf("%d lines after a while", n)
	}
}
