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

	"kube-ipvs/proxier/pace"
)

// root is one of the given paths, a file or a folder.
type root struct {
	path    string
	files   map[string]*file // by path
	home    home             // the last known folder of its files
	seen    bool             // it was readable once
	listed  bool             // the last scan could list it
	lost    bool             // it was missing, so that home means nothing: the kernel reuses inode numbers
	problem string           // why the last scan could not list it
}

// home identifies a folder, since another folder of the same name says nothing about the files of the
// first.
type home struct{ dev, ino uint64 }

// listing has the files of a root.
type listing struct {
	folder bool
	paths  []string // sorted
	home   home
	gone   error // why there are certainly no paths
}

// errDangling says that a link has no target, as during the replacement of the target.
var errDangling = errors.New("a link to a file that does not exist")

// list finds the files of a root. After an error its files are unknown.
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
	// A file is missing only if its folder exists.
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

// isManifest reports whether a file in a folder is a manifest, by its name. The files of editors are
// hidden or end differently.
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

// scan reads the changed files of a root. changed reports whether objects or problems may have changed.
// next is when to read a file again that is being written, or zero. The caller must call sweep next.
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
			next = pace.Earliest(next, again)
			continue
		}
		c, again := f.refresh(now, marks.has(path))
		changed, next = changed || c, pace.Earliest(next, again)
	}
	return changed, next
}

// sweep drops the deleted files. With busy, another file is being written that their objects may have
// moved to: sweep then waits for a short time, so that these objects are not deleted and added again.
func (r *root) sweep(now time.Time, marks marks, busy bool) (changed bool, next time.Time) {
	if !r.listed {
		return false, next
	}
	for path, f := range r.files {
		if f.missing.IsZero() {
			continue
		}
		if again, waits := marks.wait(path, now); waits {
			next = pace.Earliest(next, again)
			continue
		}
		if again := f.missing.Add(2 * settle); busy && again.After(now) {
			next = pace.Earliest(next, again)
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

// reason returns the text of an error without the path, which the problem has anyway.
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

// complete reports whether every file was good at least once.
func (r *root) complete() bool {
	for _, f := range r.files {
		if !f.parsed {
			return false
		}
	}
	return r.seen
}

// marks has, by path, until when a file that was just written is not read.
type marks map[string]time.Time

func (m marks) has(path string) bool {
	_, ok := m[path]
	return ok
}

func (m marks) wait(path string, now time.Time) (until time.Time, waits bool) {
	until, ok := m[path]
	return until, ok && until.After(now)
}

// drop removes the marks whose time has come.
func (m marks) drop(now time.Time) {
	maps.DeleteFunc(m, func(_ string, until time.Time) bool { return !until.After(now) })
}
