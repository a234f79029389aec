package source

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// root is one of the given paths, a file or a folder.
type root struct {
	path    string
	files   map[string]*file // by path
	home    home             // of its files, when they were last there
	seen    bool             // it has been there and could be read
	listed  bool             // the last scan knew what is there
	lost    bool             // it was away, so home says nothing: inode numbers are used again
	problem string           // why that is not so now
}

// home identifies a folder: another one of the same name says nothing about
// the files of the first.
type home struct{ dev, ino uint64 }

// listing is what a root holds now.
type listing struct {
	folder bool
	paths  []string // sorted
	home   home
	gone   error // why no path is there, where that is certain
}

// errDangling says that a file is a link to nothing, as while its target is replaced.
var errDangling = errors.New("a link to a file that does not exist")

// list finds the files of a root. An error means that nothing is known.
func (r *root) list() (listing, error) {
	info, err := os.Stat(r.path)
	if err == nil && info.IsDir() {
		entries, err := os.ReadDir(r.path)
		if err != nil {
			return listing{}, err
		}
		l := listing{folder: true, home: homeOf(info)}
		for _, e := range entries {
			if isManifest(e.Name()) {
				l.paths = append(l.paths, filepath.Join(r.path, e.Name()))
			}
		}
		return l, nil
	}
	// The file alone is missing only if the folder around it is there.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return listing{}, err
	}
	if _, here := r.files[r.path]; !here && err != nil {
		return listing{}, err
	}
	around, aroundErr := os.Stat(filepath.Dir(r.path))
	switch {
	case aroundErr != nil:
		return listing{}, aroundErr
	case err == nil:
		return listing{paths: []string{r.path}, home: homeOf(around)}, nil
	case isLink(r.path):
		return listing{}, errDangling
	}
	return listing{home: homeOf(around), gone: err}, nil
}

func homeOf(info fs.FileInfo) home {
	s := stampOf(info)
	return home{s.dev, s.ino}
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// isManifest reports whether a name in a folder counts. Editors' files are
// hidden or do not end like manifests.
func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// scan looks at everything below a root. changed reports whether anything in
// force or its problems may be another now; next is when to look again at
// what is being written, zero if nothing is. sweep must follow.
func (r *root) scan(now time.Time, marks marks) (changed bool, next time.Time) {
	l, err := r.list()
	another := l.home != r.home || r.lost || (l.folder && marks.has(r.path))
	if err == nil && len(l.paths) == 0 && len(r.files) > 0 && another {
		err = errors.New("a new folder has taken its place and has no manifests yet")
	}
	r.listed = err == nil
	if err != nil {
		r.lost = r.lost || !errors.Is(err, errDangling)
		return r.fail(err), next
	}
	r.lost, r.home = false, l.home
	if l.gone != nil {
		changed = r.say(waiting(l.gone))
	} else {
		changed = r.say("") || !r.seen
		r.seen = true
	}
	for path, f := range r.files {
		if _, there := slices.BinarySearch(l.paths, path); there {
			f.missing = time.Time{}
		} else if f.missing.IsZero() {
			f.missing = now
		}
	}
	for _, path := range l.paths {
		f := r.files[path]
		if f == nil {
			f = &file{path: path}
			r.files[path], changed = f, true
		}
		if again, waits := marks.wait(path, now); waits {
			next = earliest(next, again)
			continue
		}
		c, again := f.refresh(now, marks.has(path))
		changed, next = changed || c, earliest(next, again)
	}
	return changed, next
}

// sweep forgets the files that are no more. With busy, something is being
// written that their objects may have moved to: it is waited for, so that
// they do not go and come back, but not for long.
func (r *root) sweep(now time.Time, marks marks, busy bool) (changed bool, next time.Time) {
	if !r.listed {
		return false, next
	}
	for path, f := range r.files {
		if f.missing.IsZero() {
			continue
		}
		if again, waits := marks.wait(path, now); waits {
			next = earliest(next, again)
			continue
		}
		if again := f.missing.Add(2 * settle); busy && again.After(now) {
			next = earliest(next, again)
			continue
		}
		delete(r.files, path)
		changed = true
	}
	return changed, next
}

// fail notes that the root cannot be read; its files stay.
func (r *root) fail(err error) (changed bool) {
	if len(r.files) == 0 {
		return r.say(waiting(err))
	}
	return r.say("cannot be read: " + reason(err) + "; its last usable content stays in force")
}

func waiting(err error) string { return "cannot be read: " + reason(err) + "; kube-ipvs waits for it" }

// reason is an error without the path, which is said anyway.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

func (r *root) say(problem string) (changed bool) {
	changed = r.problem != problem
	r.problem = problem
	return changed
}

// sorted returns the files by path.
func (r *root) sorted() []*file {
	return slices.SortedFunc(maps.Values(r.files), func(a, b *file) int { return strings.Compare(a.path, b.path) })
}

// complete reports whether every file could be parsed at least once.
func (r *root) complete() bool {
	for _, f := range r.files {
		if !f.parsed {
			return false
		}
	}
	return r.seen
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// marks holds, by path, until when a file that was just written is left alone.
type marks map[string]time.Time

func (m marks) has(path string) bool {
	_, ok := m[path]
	return ok
}

func (m marks) wait(path string, now time.Time) (until time.Time, waits bool) {
	until, ok := m[path]
	return until, ok && until.After(now)
}

// drop forgets the marks whose time has come.
func (m marks) drop(now time.Time) {
	maps.DeleteFunc(m, func(_ string, until time.Time) bool { return !until.After(now) })
}
