package journal

import (
	"cmp"
	"log/slog"
	"strings"
	"time"

	"kube-ipvs/proxier/model"
)

// teller logs problems and bounds their lines, so that neither many objects nor one that
// changes again and again fill the log of every node.
type teller struct {
	lines map[string]int // of each object and each namespace, since began
	began time.Time
}

// An object may have linesEach, and a namespace linesNamespace, in linesSince.
const (
	linesEach      = 10
	linesNamespace = 100
	linesSince     = 10 * time.Minute
	// linesNames is how many names have a count of their own.
	linesNames = 10_000
)

func (t *teller) tell(log *slog.Logger, came, went []model.Problem) {
	if now := time.Now(); t.lines == nil || now.Sub(t.began) > linesSince {
		t.lines, t.began = map[string]int{}, now
	}
	lines := bounded{log: log}
	for _, pr := range came {
		if lines.n >= logged || t.may(pr, &lines) { // a line that is only counted costs the object nothing
			lines.write(slog.LevelWarn, "problem", "origin", pr.Origin, "object", pr.Object, "field", pr.Field, "what", pr.Message)
		}
	}
	lines.end("more problems")
	lines = bounded{log: log}
	for _, pr := range went {
		if lines.n >= logged || t.may(pr, &lines) {
			lines.write(slog.LevelInfo, "problem solved", "was", pr.String())
		}
	}
	lines.end("more problems solved")
}

// may reports whether the object of a problem may have one more line.
func (t *teller) may(pr model.Problem, lines *bounded) bool {
	name, space := cmp.Or(pr.Object, pr.Origin), namespaceOf(pr.Object)
	object, namespace := t.key("object "+name), t.key("namespace "+space)
	switch n, all := t.lines[object], t.lines[namespace]; {
	case all > linesNamespace || n > linesEach:
		return false
	case all == linesNamespace:
		t.lines[namespace]++
		lines.write(slog.LevelWarn, "this namespace has too many problems: the log leaves out further ones for a while", "namespace", space)
		return false
	case n == linesEach:
		t.lines[object]++
		lines.write(slog.LevelWarn, "this object has too many problems: the log leaves out further ones for a while", "object", name)
		return false
	}
	t.lines[object]++
	t.lines[namespace]++
	return true
}

// key returns the name of the count for a name: after linesNames all others share one.
func (t *teller) key(name string) string {
	if _, known := t.lines[name]; !known && len(t.lines) >= linesNames {
		return ""
	}
	return name
}

// namespaceOf returns the namespace of an object such as "Service default/web", or "".
func namespaceOf(object string) string {
	_, name, _ := strings.Cut(object, " ")
	namespace, _, found := strings.Cut(name, "/")
	if !found {
		return ""
	}
	return namespace
}
