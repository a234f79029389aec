package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUnreadableFileKeepsItsObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	for _, tt := range []struct {
		name, problem string
		spoil         func(t *testing.T)
	}{
		{"folder", "not a regular file", func(t *testing.T) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o755)) }},
		{"broken link", "no such file", func(t *testing.T) { must(t, os.Remove(path)); must(t, os.Symlink("nowhere", path)) }},
		{"huge", "larger than 64 MiB", func(t *testing.T) { write(t, path, ""); must(t, os.Truncate(path, maxFile+1)) }},
		{"no permission", "permission denied", func(t *testing.T) {
			if os.Geteuid() == 0 {
				t.Skip("root may read everything")
			}
			must(t, os.Chmod(path, 0))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, os.RemoveAll(path))
			write(t, path, svc("a", 80))
			r := run(t, dir)
			r.awaitNames(t, "a")
			tt.spoil(t)
			r.awaitProblem(t, tt.problem)
			must(t, os.RemoveAll(path))
			replace(t, path, docs(svc("a", 80), svc("b", 80)))
			r.awaitNames(t, "a b")
			r.awaitWell(t)
			r.look(func() {
				if got := strings.Join(r.batches, "|"); strings.Contains(got, "-") {
					t.Errorf("something was removed: %s", got)
				}
			})
		})
	}
}

func TestFolderVanishesAndComesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "manifests")
	must(t, os.Mkdir(dir, 0o755))
	path := filepath.Join(dir, "a.yaml")
	write(t, path, svc("a", 80))
	write(t, filepath.Join(dir, "b.yaml"), svc("b", 80))
	r := run(t, dir)
	r.awaitNames(t, "a b")
	aside := dir + "-aside"
	must(t, os.Rename(dir, aside))
	r.awaitProblem(t, dir+": cannot be read: no such file or directory; its last usable content stays in force")
	must(t, os.Mkdir(dir, 0o755))
	r.awaitProblem(t, "has no manifests yet")
	r.look(func() {
		if r.names() != "a b" {
			t.Errorf("objects %s", r.names())
		}
	})
	write(t, path, docs(svc("a", 80), svc("c", 80)))
	r.awaitNames(t, "a c")
	r.awaitWell(t)
	// Once it has files, it may also be emptied.
	must(t, os.Remove(path))
	r.awaitNames(t, "")

	must(t, os.Remove(dir))
	r.awaitProblem(t, "kube-ipvs waits for it")
	must(t, os.Rename(aside, dir))
	r.awaitNames(t, "a b")
	r.awaitWell(t)
}

func TestRemovedAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "manifests")
	must(t, os.Mkdir(dir, 0o755))
	write(t, filepath.Join(dir, "a.yaml"), svc("a", 80))
	r := run(t, dir)
	r.awaitNames(t, "a")
	for range 3 { // inode numbers may be used again
		must(t, os.RemoveAll(dir))
		must(t, os.Mkdir(dir, 0o755))
		r.awaitProblem(t, "stays in force")
		write(t, filepath.Join(dir, "b.yaml"), docs(svc("a", 80), svc("b", 80)))
		r.awaitWell(t)
		r.awaitNames(t, "a b")
	}
	r.look(func() {
		if got := strings.Join(r.batches, "|"); strings.Contains(got, "-") {
			t.Errorf("something was removed: %s", got)
		}
	})
}

func TestConfigMapVolume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(name string, files map[string]string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		for file, data := range files {
			write(t, filepath.Join(dir, name, file), data)
		}
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..2025_1", map[string]string{"a.yaml": svc("a", 80), "b.yaml": svc("b", 80)})
	for _, file := range []string{"a.yaml", "b.yaml"} {
		must(t, os.Symlink("..data/"+file, filepath.Join(dir, file)))
	}
	elsewhere := filepath.Join(t.TempDir(), "link.yaml")
	must(t, os.Symlink(filepath.Join(dir, "a.yaml"), elsewhere))
	whole, single := run(t, dir), run(t, elsewhere)
	whole.awaitNames(t, "a b")
	single.awaitNames(t, "a")

	version("..2025_2", map[string]string{"a.yaml": svc("c", 80)})
	must(t, os.RemoveAll(filepath.Join(dir, "..2025_1")))
	whole.awaitNames(t, "b c")
	whole.awaitProblem(t, "b.yaml: cannot be read") // a link to a missing file is no problem
	single.awaitNames(t, "c")
	must(t, os.Remove(filepath.Join(dir, "b.yaml")))
	whole.awaitNames(t, "c")
	whole.awaitWell(t)
}

func TestHalfWrittenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, docs(svc("a", 80), svc("b", 80)))
	r := run(t, dir)
	r.awaitNames(t, "a b")
	h, err := os.Create(path) // empty from now on
	must(t, err)
	defer h.Close()
	whole := docs(svc("a", 81), svc("c", 80))
	step := time.NewTicker(2 * quiet) // long enough to be read after every step
	defer step.Stop()
	for at := 0; at < len(whole); at += 20 {
		<-step.C
		part := strings.TrimRight(whole[at:min(at+20, len(whole))], "\n")
		_, err := h.WriteAt([]byte(part), int64(at))
		must(t, err)
	}
	must(t, os.WriteFile(path, []byte(whole), 0o644))
	r.awaitNames(t, "a c")
	r.look(func() {
		if got := strings.Join(r.batches, "|"); got != "+a +b|+a +c -b" || len(r.problems) != 0 {
			t.Errorf("batches %s, problems %s", got, r.said())
		}
	})
}

func TestUnfinishedFileSettles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, strings.TrimSpace(svc("a", 80)))
	r := run(t, dir)
	r.awaitNames(t, "a")
	r.awaitSynced(t)
	write(t, path, "")
	r.awaitNames(t, "")
	// Also with a clock that is wrong.
	write(t, path, strings.TrimSpace(svc("b", 80)))
	future := time.Now().Add(time.Hour)
	must(t, os.Chtimes(path, future, future))
	r.awaitNames(t, "b")
	r.awaitWell(t)
}

func TestBusyFileHoldsUpNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), svc("a", 80))
	busy, err := os.Create(filepath.Join(dir, "busy.yaml"))
	must(t, err)
	defer busy.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(quiet / 5)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := busy.WriteString("# more\n#"); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	r := run(t, dir)
	r.awaitNames(t, "a")
	write(t, filepath.Join(dir, "b.yaml"), svc("b", 80))
	r.awaitNames(t, "a b")
	r.awaitLoaded(t)
	close(stop)
	<-stopped
	r.awaitSynced(t)
}
