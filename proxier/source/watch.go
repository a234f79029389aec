package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// watch follows the folders around all roots. If inotify does not work, it does nothing, and only the
// slow scan finds changes.
type watch struct {
	fs      *fsnotify.Watcher // nil if there is none
	folders map[string]*watched
	problem string // why the source may find changes late
}

// watched is a folder by its path without symbolic links, since fsnotify cannot follow one folder under
// two names.
type watched struct {
	home  home
	roots []string          // roots that are this folder
	names map[string]string // other entries that matter, with their root
}

func newWatch() *watch {
	w := &watch{folders: map[string]*watched{}}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		w.problem = err.Error()
	}
	return w
}

func (w *watch) close() {
	if w.fs != nil {
		_ = w.fs.Close()
	}
}

// events returns the channels of fsnotify, or nil without inotify.
func (w *watch) events() (<-chan fsnotify.Event, <-chan error) {
	if w.fs == nil {
		return nil, nil
	}
	return w.fs.Events, w.fs.Errors
}

// aim sets the watches for the current roots. Call it before the scan, so that no later change is missed.
func (w *watch) aim(roots []*root) {
	if w.fs == nil {
		return
	}
	want := map[string]*watched{}
	for _, r := range roots {
		aimAt(want, r.path)
	}
	live := map[string]bool{}
	for _, path := range w.fs.WatchList() {
		live[path] = true
	}
	w.problem = ""
	for path, old := range w.folders {
		if now := want[path]; (now == nil || now.home != old.home) && live[path] {
			_ = w.fs.Remove(path) // fails if the kernel has just removed it
			live[path] = false
		}
	}
	for path := range want {
		if live[path] {
			continue
		}
		err := w.fs.Add(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && w.problem == "" {
			w.problem = fmt.Sprintf("%s: %v", path, reason(err))
		}
	}
	w.folders = want
}

// aimAt adds the folders whose events show changes at path: path itself, and the folders around it and
// around each link on the way, or the nearest one that exists.
func aimAt(want map[string]*watched, path string) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if f := folder(want, path); f != nil {
			f.roots = append(f.roots, path)
		}
	}
	for hop, hops := path, 0; hops < 10; hops++ {
		around, name := filepath.Split(hop)
		for around = filepath.Clean(around); ; around, name = filepath.Dir(around), filepath.Base(around) {
			if f := folder(want, around); f != nil {
				f.names[name] = path
				break
			}
			if filepath.Dir(around) == around {
				break
			}
		}
		target, err := os.Readlink(hop)
		if err != nil {
			return
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(hop), target)
		}
		hop = target
	}
}

// folder returns the entry of a folder, or nil if it does not exist.
func folder(want map[string]*watched, path string) *watched {
	plain, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	info, err := os.Stat(plain)
	if err != nil || !info.IsDir() {
		return nil
	}
	if want[plain] == nil {
		want[plain] = &watched{home: homeOf(info), names: map[string]string{}}
	}
	return want[plain]
}

// concerns returns the paths of an event, as the roots name them. ours is false if it concerns none.
func (w *watch) concerns(event fsnotify.Event) (paths []string, ours bool) {
	if w.folders[event.Name] != nil {
		ours = true // the folder itself was deleted or moved
	}
	f := w.folders[filepath.Dir(event.Name)]
	if f == nil {
		return nil, ours
	}
	name := filepath.Base(event.Name)
	// Volumes of ConfigMaps switch all files at once by one such link.
	if strings.HasPrefix(name, "..") {
		return nil, true
	}
	if root, ok := f.names[name]; ok {
		paths = append(paths, root)
	}
	if isManifest(name) {
		for _, r := range f.roots {
			paths = append(paths, filepath.Join(r, name))
		}
	}
	return paths, ours || len(paths) > 0
}
