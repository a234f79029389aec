package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// follow watches a file until the test ends, from what it holds now.
func follow(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, path, digest(data), func() { told <- struct{}{} })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return told
}

// once waits for one report, and for a while that there is no second one.
func once(t *testing.T, told <-chan struct{}) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("a change was not reported")
	}
	quiet(t, told)
}

func quiet(t *testing.T, told <-chan struct{}) {
	t.Helper()
	select {
	case <-told:
		t.Fatal("something that is no change was reported")
	case <-time.After(3 * settle):
	}
}

func TestWatchFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.conf")
	write(t, path, "a")
	told := follow(t, path)
	quiet(t, told)
	write(t, path, "b")
	once(t, told)
	write(t, path, "b") // written again with the same content
	write(t, filepath.Join(dir, "other"), "c")
	quiet(t, told)
	write(t, path+".tmp", "c")
	rename(t, path+".tmp", path)
	once(t, told)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	quiet(t, told)
	write(t, path, "c") // back as it was
	quiet(t, told)
	write(t, path, "d")
	once(t, told)
}

// What changed between reading the file and watching it is reported.
func TestWatchKnowsWhatWasRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.conf")
	write(t, path, "new")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	told := 0
	Watch(ctx, path, digest([]byte("old")), func() { told++; cancel() })
	if told != 1 {
		t.Errorf("reported %d times", told)
	}
}

// The volume of a ConfigMap: config.conf → ..data/config.conf, ..data → a
// folder of this version, switched by renaming a link.
func TestWatchConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "config.conf"), text)
		link(t, name, filepath.Join(dir, "..data_tmp"))
		rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	}
	version("..v1", "one")
	link(t, filepath.Join("..data", "config.conf"), filepath.Join(dir, "config.conf"))
	far := filepath.Join(t.TempDir(), "far.conf") // a link from elsewhere
	link(t, filepath.Join(dir, "config.conf"), far)
	near, away := follow(t, filepath.Join(dir, "config.conf")), follow(t, far)
	quiet(t, near)
	version("..v2", "two")
	once(t, near)
	once(t, away)
	version("..v3", "two") // another file of the ConfigMap has changed
	quiet(t, near)
	version("..v4", "four")
	once(t, near)
	once(t, away)
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
