package source

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/pace"
)

const (
	quiet  = 50 * time.Millisecond // from the last event of a file until its read
	rescan = 30 * time.Second      // inotify may lose events
)

// Manifests returns a Source that reads Services, EndpointSlices and Nodes from files, and from the
// files *.yaml, *.yml and *.json of folders, and follows every change. It ignores other kinds.
//
// It deletes no object because a file or folder cannot be read: an object stays until the file or folder
// can be read without it. If several files have an object, the first counts, in the order of paths and
// then of file names. Objects get the defaults of an API server.
func Manifests(paths []string, log *slog.Logger) Source {
	m := &manifests{log: log, marks: marks{}, stock: newStock(), rescan: rescan}
	for _, path := range paths {
		path = filepath.Clean(path)
		if !slices.ContainsFunc(m.roots, func(r *root) bool { return r.path == path }) {
			m.roots = append(m.roots, &root{path: path, files: map[string]*file{}})
		}
	}
	return m
}

type manifests struct {
	log    *slog.Logger
	roots  []*root
	marks  marks
	stock  *stock
	told   []model.Problem
	double []model.Problem // about objects in several places
	start  time.Time       // of the first scan
	loaded bool
	synced bool
	rescan time.Duration
}

// Run is part of Source. Call it only once.
func (m *manifests) Run(ctx context.Context, sink Sink) error {
	if len(m.roots) == 0 {
		return errors.New("no path of manifests is given")
	}
	w := newWatch()
	defer w.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	wake := time.Now() // when timer fires
	events, failures := w.events()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			paths, ours := w.concerns(event)
			if !ours {
				continue
			}
			until := time.Now().Add(quiet)
			for _, path := range paths {
				m.marks[path] = until
			}
			wake = pace.Earliest(wake, until)
		case err, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			m.log.Warn("watching manifests: events may be lost, reading all again", "error", err)
			wake = time.Now()
		case <-timer.C:
			w.aim(m.roots)
			wake = m.scan(time.Now(), w.problem, sink)
		}
		timer.Reset(time.Until(wake))
	}
}

// scan reads the files that may have changed, calls the sink, and returns when to scan again.
func (m *manifests) scan(now time.Time, watchProblem string, sink Sink) time.Time {
	if m.start.IsZero() {
		m.start = now
	}
	changed, next := false, time.Time{} // next: when a file is waited for
	for _, r := range m.roots {
		c, again := r.scan(now, m.marks)
		changed, next = changed || c, pace.Earliest(next, again)
	}
	busy := !next.IsZero()
	for _, r := range m.roots {
		c, again := r.sweep(now, m.marks, busy)
		changed, next = changed || c, pace.Earliest(next, again)
	}
	m.marks.drop(now)
	files := m.files()
	if changed {
		if events := m.stock.update(files); len(events) > 0 {
			m.log.Debug("manifests changed", "events", len(events), "objects", len(m.stock.told), "files", len(files))
			sink.Events(events)
		}
		m.double = m.stock.doubles(files)
	}
	m.tell(m.problems(files, watchProblem), sink)
	m.tellProgress(now, !next.IsZero(), sink)
	return pace.Earliest(now.Add(m.rescan), next)
}

// tellProgress calls Loaded and Synced once each, when they are due. It waits a moment for a file that is
// being written.
func (m *manifests) tellProgress(now time.Time, waits bool, sink Sink) {
	switch {
	case m.synced:
	case !slices.ContainsFunc(m.roots, func(r *root) bool { return !r.complete() }):
		m.synced = true
		sink.Synced()
	case !m.loaded && (!waits || now.Sub(m.start) > 2*settle):
		m.loaded = true
		sink.Loaded()
	}
}

// files returns all files in the order that decides between equal objects. A file with two paths counts
// once.
func (m *manifests) files() []*file {
	var all []*file
	seen := map[string]bool{}
	for _, r := range m.roots {
		for _, f := range r.sorted() {
			if !seen[f.path] {
				seen[f.path] = true
				all = append(all, f)
			}
		}
	}
	return all
}

func (m *manifests) problems(files []*file, watchProblem string) []model.Problem {
	var all []model.Problem
	if watchProblem != "" {
		all = append(all, model.Problem{Message: "cannot watch for changes, so they are seen within " + m.rescan.String() + ": " + watchProblem})
	}
	for _, r := range m.roots {
		if r.problem != "" {
			all = append(all, model.Problem{Origin: r.path, Message: r.problem})
		}
	}
	for _, f := range files {
		all = append(all, f.said()...)
	}
	return append(all, m.double...)
}

func (m *manifests) tell(problems []model.Problem, sink Sink) {
	if slices.Equal(problems, m.told) {
		return
	}
	m.told = problems
	sink.Problems(slices.Clone(problems))
}
