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

// Digest identifies the content of a file.
type Digest [sha256.Size]byte

func digest(data []byte) Digest { return sha256.Sum256(data) }

const (
	// settle is how long a file must stay unchanged before it counts, since an editor may write
	// it in several steps.
	settle = 300 * time.Millisecond
	// lookEvery is the time between reads without an event: not all file systems report changes,
	// and the kernel may have no watches left.
	lookEvery = 30 * time.Second
)

// Watch calls changed once for each new content of the file at path; was is the digest of the first
// content. It follows renames and links such as those of a ConfigMap's volume, and waits for a missing or
// unreadable file. It returns when ctx ends.
func Watch(ctx context.Context, path string, was Digest, changed func()) {
	w := &fileWatch{path: path, was: was, watched: map[string]map[string]bool{}}
	var events <-chan fsnotify.Event
	var errs <-chan error
	if fs, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = fs.Close() }()
		w.fs, events, errs = fs, fs.Events, fs.Errors
	}
	w.aim()
	look := time.NewTimer(0) // for changes before the watch
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
	watched map[string]map[string]bool // the names that matter, by folder
}

func (w *fileWatch) differs() bool {
	data, err := readAll(w.path)
	if err != nil || digest(data) == w.was {
		return false
	}
	w.was = digest(data)
	return true
}

// matters reports whether an event may be about the file. The volume of a ConfigMap switches all files at
// once by one link whose name begins with two dots.
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
			_ = w.fs.Remove(dir) // fails if the folder was deleted, and the watch with it
		}
	}
	for dir := range want {
		// A second Add is harmless, and the folder may be a new one of that name. If it fails,
		// the reads each lookEvery are enough.
		_ = w.fs.Add(dir)
	}
	w.watched = want
}
