package source

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestFollowsFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), svc("a", 80))
	write(t, filepath.Join(dir, "b.json"), sliceJSON+"\n")
	write(t, filepath.Join(dir, "n.yml"), nodeYAML)
	for _, name := range []string{"c.txt", ".d.yaml", "e.yaml~", ".f.yaml.swp", "#g.yaml#", "yaml"} {
		write(t, filepath.Join(dir, name), "broken: [\n")
	}
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	write(t, filepath.Join(dir, "sub", "h.yaml"), svc("h", 80))
	r := run(t, dir)
	r.awaitSynced(t)
	r.look(func() {
		if len(r.batches) != 1 || r.batches[0] != "+a +n1 +web-1" || len(r.problems) != 0 {
			t.Errorf("batches %q, problems %s", r.batches, r.said())
		}
		if o := r.objects[service("a")].Origin; o != filepath.Join(dir, "a.yaml")+", document 1" {
			t.Errorf("origin %q", o)
		}
	})

	write(t, filepath.Join(dir, "a.yaml"), docs(svc("a", 81), svc("i", 80)))
	r.awaitNames(t, "a i n1 web-1")
	replace(t, filepath.Join(dir, "a.yaml"), docs(svc("a", 82), svc("i", 80)))
	r.await(t, "a at port 82", func() bool { return portOf(r.objects[service("a")]) == 82 })
	must(t, os.Remove(filepath.Join(dir, "b.json")))
	r.awaitNames(t, "a i n1")
	must(t, os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "z.yaml")))
	r.await(t, "a from z.yaml", func() bool { return strings.Contains(r.objects[service("a")].Origin, "z.yaml") })
	must(t, os.Remove(filepath.Join(dir, "z.yaml")))
	r.awaitNames(t, "n1")
	r.look(func() {
		// Only what differs is told, and all of one scan at once. The rename
		// names the new file; nothing goes away meanwhile.
		want := "+a +n1 +web-1|+a +i|+a|-web-1|+a +i|-a -i"
		if got := strings.Join(r.batches, "|"); got != want {
			t.Errorf("batches %s\nwant    %s", got, want)
		}
		if r.synced != 1 || r.loaded != 0 {
			t.Errorf("synced %d times, loaded %d times", r.synced, r.loaded)
		}
	})
}

// What is touched or written again the same is no news.
func TestSameContentIsNoNews(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, svc("a", 80))
	r := run(t, path)
	r.awaitSynced(t)
	replace(t, path, "# a comment\n"+svc("a", 80))
	write(t, path, docs("# another\n", svc("a", 80), svc("b", 80)))
	r.awaitNames(t, "a b")
	r.look(func() {
		if got := strings.Join(r.batches, "|"); got != "+a|+b" {
			t.Errorf("batches %s", got)
		}
	})
}

func TestSingleFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "er", "services") // any name will do
	r := run(t, path)
	r.awaitProblem(t, path+": cannot be read: no such file or directory; kube-ipvs waits for it")
	r.awaitLoaded(t)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	write(t, path, svc("a", 80))
	r.awaitNames(t, "a")
	r.awaitSynced(t)
	r.awaitWell(t)
	write(t, filepath.Join(filepath.Dir(path), "other.yaml"), svc("x", 80))
	replace(t, path, svc("b", 80))
	r.awaitNames(t, "b")
	must(t, os.Remove(path))
	r.awaitNames(t, "")
	r.awaitProblem(t, "kube-ipvs waits for it")
	write(t, path, svc("c", 80))
	r.awaitNames(t, "c")
	r.awaitWell(t)
	// Without its folder the source cannot know whether the file was deleted.
	must(t, os.RemoveAll(filepath.Dir(filepath.Dir(path))))
	r.awaitProblem(t, "its last usable content stays in force")
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	write(t, path, docs(svc("c", 80), svc("d", 80)))
	r.awaitNames(t, "c d")
	r.awaitWell(t)
}

func TestBadDocumentTakesNothingWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, docs(svc("a", 80), svc("b", 80)))
	r := run(t, dir)
	r.awaitNames(t, "a b")
	write(t, path, docs(svc("a", 81), "kind: [\n", svc("c", 80)))
	r.awaitNames(t, "a b c")
	r.awaitProblem(t, "a.yaml, document 2: malformed")
	r.look(func() {
		if p := portOf(r.objects[service("a")]); p != 81 {
			t.Errorf("a at port %d: the good documents count", p)
		}
	})
	write(t, path, "\x00\xff")
	r.awaitProblem(t, "not UTF-8")
	write(t, path, docs(svc("c", 80), svc("d", 80)))
	r.awaitNames(t, "c d")
	r.awaitWell(t)
}

func TestSyncedWaitsForEveryFile(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	write(t, filepath.Join(one, "a.yaml"), svc("a", 80))
	write(t, filepath.Join(two, "b.yaml"), docs(svc("b", 80), "kind: [\n"))
	must(t, os.Symlink("nowhere", filepath.Join(two, "c.yaml")))
	must(t, os.Mkdir(filepath.Join(two, "d.yaml"), 0o755))
	missing := filepath.Join(two, "later")
	r := run(t, one, two, missing)
	for _, part := range []string{"b.yaml, document 2: malformed", "c.yaml: cannot be read: no such file", "d.yaml: cannot be read: not a regular file", "later: cannot be read"} {
		r.awaitProblem(t, part)
	}
	r.awaitNames(t, "a b")
	r.awaitLoaded(t)
	write(t, filepath.Join(two, "b.yaml"), svc("b", 80))
	write(t, filepath.Join(two, "nowhere"), svc("c", 80))
	must(t, os.Remove(filepath.Join(two, "d.yaml")))
	r.await(t, "only one problem", func() bool { return len(r.problems) == 1 })
	r.look(func() {
		if r.synced != 0 || r.names() != "a b c" {
			t.Errorf("synced %d, objects %s", r.synced, r.names())
		}
	})
	must(t, os.Mkdir(missing, 0o755))
	r.awaitSynced(t)
	r.look(func() {
		if r.loaded != 1 {
			t.Errorf("loaded %d times", r.loaded)
		}
	})
}

func TestFirstOfEqualObjectsCounts(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	first, second, third := filepath.Join(one, "z.yaml"), filepath.Join(two, "a.yaml"), filepath.Join(two, "b.yaml")
	write(t, first, svc("a", 1))
	write(t, second, svc("a", 2))
	write(t, third, docs(svc("a", 3), svc("a", 4)))
	r := run(t, one, two, one)
	r.awaitProblem(t, second+", document 1: Service default/a: "+first+", document 1 defines it too, and counts")
	r.look(func() {
		if len(r.problems) != 3 || portOf(r.objects[service("a")]) != 1 {
			t.Errorf("%+v, problems %s", r.objects, r.said())
		}
	})
	must(t, os.Remove(first))
	r.await(t, "the second", func() bool { return portOf(r.objects[service("a")]) == 2 })
	must(t, os.Remove(second))
	r.await(t, "the third", func() bool { return portOf(r.objects[service("a")]) == 3 })
	r.awaitProblem(t, third+", document 2: Service default/a: "+third+", document 1 defines it too")
	write(t, first, svc("a", 5))
	r.await(t, "the first again", func() bool { return portOf(r.objects[service("a")]) == 5 })
	r.look(func() {
		if got := strings.Join(r.batches, "|"); strings.Contains(got, "-") {
			t.Errorf("it went away meanwhile: %s", got)
		}
	})
}

// An object that moves to a file that is not finished yet stays meanwhile.
func TestMoveToUnfinishedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), svc("a", 80))
	r := run(t, dir)
	r.awaitNames(t, "a")
	write(t, filepath.Join(dir, "b.yaml"), strings.TrimSpace(svc("a", 80)))
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	r.await(t, "a from b.yaml", func() bool { return strings.Contains(r.objects[service("a")].Origin, "b.yaml") })
	r.look(func() {
		if got := strings.Join(r.batches, "|"); got != "+a|+a" {
			t.Errorf("batches %s", got)
		}
	})
}

// A file below two of the paths is one file.
func TestOverlappingPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, svc("a", 80))
	r := run(t, path, dir, dir+"/")
	r.awaitSynced(t)
	r.look(func() {
		if len(r.problems) != 0 || r.names() != "a" {
			t.Errorf("objects %s, problems %s", r.names(), r.said())
		}
	})
}

// A file that grows while it is watched is taken when it is whole.
// A file without a line feed at its end, or empty, counts once it is left alone.
// What is being written does not hold up the rest.
// The slow scan sees what inotify missed.
func TestRescan(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, svc("a", 80))
	m := Manifests([]string{path}, slog.New(slog.DiscardHandler)).(*manifests)
	r := newRecorder()
	m.scan(time.Now(), "no more watches", r)
	write(t, path, svc("a", 81))
	m.scan(time.Now(), "no more watches", r)
	if got := strings.Join(r.batches, "|"); got != "+a|+a" || !strings.Contains(r.said(), "no more watches") {
		t.Errorf("batches %s, problems %s", got, r.said())
	}
	must(t, os.Remove(path))
	m.scan(time.Now(), "", r)
	if got := strings.Join(r.batches, "|"); got != "+a|+a|-a" || !strings.Contains(r.said(), "waits for it") {
		t.Errorf("batches %s, problems %s", got, r.said())
	}
}

func TestRelativePaths(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.Mkdir("folder", 0o755))
	r := run(t, "a.yaml", "folder", "missing/folder", ".")
	r.awaitLoaded(t)
	write(t, "a.yaml", svc("a", 80))
	r.awaitNames(t, "a")
	write(t, "folder/b.yaml", svc("b", 80))
	r.awaitNames(t, "a b")
	must(t, os.MkdirAll("missing/folder", 0o755))
	write(t, "missing/folder/c.yaml", svc("c", 80))
	r.awaitNames(t, "a b c")
	r.awaitSynced(t)
	r.awaitWell(t)
}

func TestNoPaths(t *testing.T) {
	if err := Manifests(nil, slog.New(slog.DiscardHandler)).Run(t.Context(), newRecorder()); err == nil {
		t.Error("a source of nothing runs")
	}
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 10 {
		if err := Manifests([]string{t.TempDir()}, slog.New(slog.DiscardHandler)).Run(ctx, newRecorder()); err != nil {
			t.Error(err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}
