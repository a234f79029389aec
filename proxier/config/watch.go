package config

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Digest tells contents of a file apart.
type Digest [sha256.Size]byte

func digest(data []byte) Digest { return sha256.Sum256(data) }

const (
	// settle is how long a file must be left alone before it counts: an editor
	// may write it in several steps.
	settle = 300 * time.Millisecond
	// lookEvery is how often the file is read in any case: not all file systems
	// tell of changes, and the kernel may have no watches left.
	lookEvery = 30 * time.Second
)

// Watch calls changed, once for each new content, when the file at path holds
// something else than what had the digest was. It sees through renames and
// through links such as those of a ConfigMap's volume. A file that is missing
// or cannot be read is waited for. It returns when ctx ends.
func Watch(ctx context.Context, path string, was Digest, changed func()) {
	w := &fileWatch{path: path, was: was, watched: map[string]map[string]bool{}}
	var events <-chan fsnotify.Event
	var errs <-chan error
	if fs, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = fs.Close() }()
		w.fs, events, errs = fs, fs.Events, fs.Errors
	}
	w.aim()
	look := time.NewTimer(0) // what changed before there was a watch
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.matters(e.Name) {
				look.Reset(settle)
			}
		case <-errs: //nolint:errcheck // all of them mean the same
			look.Reset(settle) // events were lost
		case <-look.C:
			w.aim()
			if w.differs() {
				changed()
			}
			look.Reset(lookEvery)
		}
	}
}

type fileWatch struct {
	path    string
	was     Digest
	fs      *fsnotify.Watcher          // nil if there is none
	watched map[string]map[string]bool // folders, and the names in them that matter
}

func (w *fileWatch) differs() bool {
	data, err := readAll(w.path)
	if err != nil || digest(data) == w.was {
		return false
	}
	w.was = digest(data)
	return true
}

// matters reports whether an event is about the file. The volume of a
// ConfigMap switches all files at once by one link whose name begins with two dots.
func (w *fileWatch) matters(event string) bool {
	dir, name := filepath.Split(event)
	return w.watched[filepath.Clean(dir)][name] || strings.HasPrefix(name, "..") || w.watched[event] != nil
}

// aim watches the folders of the file and of each link on the way to it.
func (w *fileWatch) aim() {
	if w.fs == nil {
		return
	}
	want := map[string]map[string]bool{}
	for hop, hops := w.path, 0; hops < 10; hops++ {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(hop)); err == nil {
			if want[dir] == nil {
				want[dir] = map[string]bool{}
			}
			want[dir][filepath.Base(hop)] = true
		}
		target, err := os.Readlink(hop)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(hop), target)
		}
		hop = target
	}
	for dir := range w.watched {
		if want[dir] == nil {
			_ = w.fs.Remove(dir) // fails if the folder is gone, and with it the watch
		}
	}
	for dir := range want {
		// Adding twice is harmless, and the folder may be a new one of that name.
		// Where it fails, looking every now and then must do.
		_ = w.fs.Add(dir)
	}
	w.watched = want
}
