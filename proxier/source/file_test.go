package source

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file that was just written is read once more, since it may have changed
// within a tick of the clock. One from the future, as after the clock was set
// back, is not new for ever.
func TestFileFromTheFuture(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"now": 0, "the future": 10 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			f := &file{path: filepath.Join(t.TempDir(), "web.yaml")}
			write(t, f.path, svc("web", 80))
			now := time.Now()
			must(t, os.Chtimes(f.path, now.Add(ahead), now.Add(ahead)))
			for i, want := range []bool{true, true, false, false} {
				if changed, again := f.refresh(now.Add(time.Duration(i)*time.Minute), false); changed != want || !again.IsZero() {
					t.Errorf("look %d: read is %v, again %v", i, changed, again)
				}
			}
		})
	}
}
