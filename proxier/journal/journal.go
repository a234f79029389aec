// Package journal logs rounds: one line for each change, and one for each object that begins to
// fail, that another program changed, or that has a problem. It bounds the lines of each kind.
package journal

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/report"
)

// Journal logs rounds and problems. Only one goroutine may use it.
type Journal struct {
	log       *slog.Logger
	board     model.Board
	teller    teller
	left      int       // writes that the last round left
	abortedAt time.Time // start of the first round that could not read the kernel; zero: the loop has read it since
}

// New returns a Journal that has logged nothing.
func New(log *slog.Logger) *Journal { return &Journal{log: log} }

// Round logs a round.
func (j *Journal) Round(r *report.Round) {
	if j.logAborted(r); r.Err != nil {
		return
	}
	j.logMended(r.Mended)
	j.logFailures(r.Begun)
	j.logDrift(r)
	j.logRound(r)
}

// Board returns the board of all problems, for their judges.
func (j *Journal) Board() *model.Board { return &j.board }

// Problems logs the new and the solved problems of the board, and returns all problems, sorted.
func (j *Journal) Problems() []model.Problem {
	all, came, went := j.board.Sum()
	if len(came)+len(went) > 0 {
		j.teller.tell(j.log, came, went)
	}
	return all
}

// logAborted logs the first of aborted rounds, and the round that reads the kernel again.
func (j *Journal) logAborted(r *report.Round) {
	switch {
	case r.Unread != nil && j.abortedAt.IsZero():
		j.abortedAt = r.Started
		j.log.Error("a round is aborted: it writes nothing, and is tried again", "round", r.Number, "err", r.Unread)
	case r.Unread == nil && !j.abortedAt.IsZero():
		j.log.Info("rounds succeed again", "round", r.Number, "after", time.Since(j.abortedAt))
		j.abortedAt = time.Time{}
	}
}

// logFailures logs writes that begin to fail, each object once.
func (j *Journal) logFailures(begun []report.Unwritten) {
	lines := bounded{log: j.log}
	for _, u := range begun {
		lines.write(slog.LevelError, "write fails; it is tried again", "cause", u.Cause, "op", u.Op.String(), "err", u.Err)
	}
	lines.end("more writes fail")
}

// logMended logs failed writes that succeed again.
func (j *Journal) logMended(writes []report.Unwritten) {
	lines := bounded{log: j.log}
	for _, u := range writes {
		lines.write(slog.LevelInfo, "write succeeds again", "op", u.Op.String(), "after", time.Since(u.Since))
	}
	lines.end("more writes succeed again")
}

func (j *Journal) logDrift(r *report.Round) {
	lines := bounded{log: j.log}
	for _, d := range r.Drift {
		lines.write(slog.LevelWarn, "drift: another program changed an object of kube-ipvs", "what", d.String())
	}
	lines.end("more drift")
}

// logRound logs a round: for debugging only, if it wrote nothing and found no drift, or if no
// change asked for it.
func (j *Journal) logRound(r *report.Round) {
	level := slog.LevelInfo
	quiet := r.Writes() == 0 || !j.asked(r)
	j.left = r.Left
	if quiet && len(r.Drift) == 0 && r.Number > 1 { // a new failure has a line of its own
		level = slog.LevelDebug
	}
	if !j.log.Enabled(context.Background(), level) {
		return
	}
	failed := r.Failed()
	args := []any{"round", r.Number, "took", r.Took, "full", r.Full || r.Audited, "services", r.Services}
	if r.Number > 1 && len(r.Changed) > 0 {
		args = append(args, "changed", changed(r))
	}
	args = append(args, "writes", r.Writes(),
		"failed", failed, "waiting", len(r.Failures)-failed, "left", r.Left, "drift", len(r.Drift), "draining", r.Draining, "objects", objects(r),
		"messages", r.Kernel.Messages, "sends", r.Kernel.Sends, "processes", r.Kernel.Processes)
	for _, w := range slices.SortedFunc(maps.Keys(r.Ops), func(a, b report.Write) int { return cmp.Compare(a.String(), b.String()) }) {
		args = append(args, w.String(), r.Ops[w])
	}
	j.log.Log(context.Background(), level, "round", args...)
}

// asked reports whether a change of the cluster or the node asked for the round, or for the
// writes that the last round left. All else follows from an earlier change, or has a line of its
// own: the end of a drain, a weight that rises, a write that succeeds again, an ejection.
func (j *Journal) asked(r *report.Round) bool {
	return r.Changes != (report.Changes{}) || r.Full || j.left > 0
}

// changed returns the names of the Services that the round rendered, or of the first ones.
func changed(r *report.Round) string {
	var names []string
	for _, k := range r.Changed {
		names = append(names, k.String())
	}
	if len(names) < r.Services {
		names = append(names, "...")
	}
	return strings.Join(names, ",")
}

// logged is how many lines of a kind a round logs.
const logged = 20

// bounded writes log lines of a kind, and counts those beyond logged.
type bounded struct {
	log   *slog.Logger
	n     int
	level slog.Level
}

func (b *bounded) write(level slog.Level, message string, args ...any) {
	b.level = level
	if b.n++; b.n <= logged {
		b.log.Log(context.Background(), level, message, args...)
	}
}

// end logs how many lines were left out, if any.
func (b *bounded) end(more string) {
	if b.n > logged {
		b.log.Log(context.Background(), b.level, more, "count", b.n-logged)
	}
}

func objects(r *report.Round) int {
	n := 0
	for _, of := range r.Objects {
		n += of
	}
	return n
}
