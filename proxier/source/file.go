package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"kube-ipvs/proxier/model"
)

const (
	// maxFile bounds memory: the parser of YAML takes about twenty times the size of a file.
	maxFile = 64 << 20
	// settle is how long a file that may be half written must stay unchanged.
	settle = time.Second
)

// stamp tells versions of a file apart without reading it.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime time.Time
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino, s.ctime = uint64(sys.Dev), sys.Ino, time.Unix(sys.Ctim.Unix())
	}
	return s
}

// file is one manifest and its objects in force.
type file struct {
	path     string
	objects  []object
	problems []model.Problem // of its content
	failure  string          // why it cannot be read now
	parsed   bool            // its whole content was good at least once
	missing  time.Time       // since when it is missing; zero: it exists

	read   stamp     // of the version read last
	readAt time.Time // and when
	seen   stamp     // of the version seen last
	seenAt time.Time // since when
}

// refresh reads the file if it may have changed. changed reports whether its objects or problems may
// have changed. again is when to read a file again that may be half written, or zero.
func (f *file) refresh(now time.Time, force bool) (changed bool, again time.Time) {
	info, err := os.Stat(f.path)
	if err != nil {
		return f.fail(err), again
	}
	if !info.Mode().IsRegular() {
		return f.fail(errors.New("not a regular file")), again
	}
	s := stampOf(info)
	if s != f.seen {
		f.seen, f.seenAt = s, now
	}
	// A change within the clock tick of the last read leaves no trace. A file with a time in the
	// future, as after a change of the clock, does not stay new for ever.
	fresh := f.readAt.Sub(s.mtime) < settle && f.readAt.Sub(f.seenAt) < settle
	if s == f.read && !force && !fresh && f.failure == "" {
		return false, again
	}
	data, torn, err := load(f.path, s)
	if err != nil {
		return f.fail(err), again
	}
	// By both clocks, since that of the file may be wrong.
	age := max(now.Sub(s.mtime), now.Sub(f.seenAt))
	if torn || (age < settle && unfinished(data)) {
		return false, now.Add(max(settle-age, settle/20))
	}
	f.read, f.readAt = s, now
	f.take(parse(f.path, data))
	return true, again
}

// take puts the parsed objects in force. The old objects of a bad document stay.
func (f *file) take(p *parser) {
	if p.bad {
		good := make(map[ref]bool, len(p.objects))
		for _, o := range p.objects {
			good[o.ref] = true
		}
		for _, o := range f.objects {
			if !good[o.ref] {
				p.objects = append(p.objects, o)
			}
		}
	} else {
		f.parsed = true
	}
	f.objects, f.problems, f.failure = p.objects, p.problems, ""
}

// fail notes that the file cannot be read; its objects stay.
func (f *file) fail(err error) (changed bool) {
	was := f.failure
	f.failure = reason(err)
	return f.failure != was
}

func (f *file) said() []model.Problem {
	if f.failure == "" {
		return f.problems
	}
	return append([]model.Problem{{Origin: f.path, Message: "cannot be read: " + f.failure + "; its last usable content stays in force"}}, f.problems...)
}

// load reads a whole file. torn reports that it has changed meanwhile.
func load(path string, want stamp) (data []byte, torn bool, err error) {
	if want.size > maxFile {
		return nil, false, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	// O_NONBLOCK, since open would wait for a writer if the file is a pipe now.
	h, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer h.Close()
	data, err = io.ReadAll(io.LimitReader(h, want.size+1))
	if err != nil {
		return nil, false, err
	}
	info, err := h.Stat()
	if err != nil {
		return nil, false, err
	}
	return data, stampOf(info) != want || int64(len(data)) != want.size, nil
}

// unfinished reports whether data looks like the start of a file: writers
// truncate, then write, and end with a line feed.
func unfinished(data []byte) bool {
	return len(data) == 0 || data[len(data)-1] != '\n'
}
