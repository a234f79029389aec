package proxier

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/report"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

var update = flag.Bool("update", false, "rewrite what stories expect")

// TestStories plays testdata/stories: one txtar file a story, which begins with what it
// shows. Its parts are steps, in order. The node is n1 in zone z1, at 192.168.50.1 and
// fd50::1. The process starts before the first step of those that are not among the first
// ones here, which are about the world around it:
//
//	mode image direct    plays the story in these modes; first part only, without it in direct
//	config               the configuration is as follows, see storyConfig
//	facts                the node is as follows, see storyFacts
//	kernel has           these objects are in the kernel: another program has made or changed them
//	conns                real servers have connections: "N real server ..." a line
//	track                conntrack has these flows, too: "udp TO by ENDPOINT", and "to the node" or "answered"
//	silent               these endpoints do not answer the node itself, and all others do
//	refuse               the kernel refuses to write these objects, and no others: "CAUSE ID" a line, see refusals
//	read fails           the kernel cannot be read
//	read works           it can
//	forget               what was written, found changed or failed until now is not told any more
//	source silent        nothing can be read of what the cluster says
//	source incomplete    not all can be read
//	source complete      all has been read
//
//	put NAME             the manifest NAME is now as follows
//	remove NAME          the manifest is gone
//	kernel lacks         another program has deleted these objects
//	audit                everything is compared with the kernel
//	stop                 the process ends; what comes then happens without it
//	restart              the process ends, unless it has, and starts again
//	later                the drain timeout passes
//
// What is expected:
//
//	kernel [TEXT]        what the kernel holds, without what every node has; with TEXT those objects
//	                     of all that begin so
//	rules TEXT           the rules that contain TEXT
//	plan                 the writes since the last such part, in order (not with faults)
//	flows                what conntrack has
//	drift                what was found changed by others since the last such part
//	unwritten            what cannot be written, "CAUSE: WRITE" a line
//	problems             what is reported of manifests
//	errors               why nothing could be compared or written, since the last such part
//	reduced              the real servers whose desired weight is reduced, "STANDING ID" a line
//	not ready            why the node is not ready
//	health               what health-check node ports answer, and how many Services lack local endpoints
//
// A part whose name begins with "image: " or "direct: " counts in that mode alone. Each story
// is played on a kernel that works and on one where a tenth of all writes fail.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		for _, mode := range modes(t, file) {
			for _, faults := range []float64{0, 0.1} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, mode, faults), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { play(t, file, desired.Mode(mode), faults) })
				})
			}
		}
	}
}

// modes returns those that a story is played in.
func modes(t *testing.T, file string) []string {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) > 0 {
		if list, says := strings.CutPrefix(archive.Files[0].Name, "mode "); says {
			return strings.Fields(list)
		}
	}
	return []string{string(desired.Direct)}
}

// known is how much of what the cluster says the process can read.
type known int

const (
	complete known = iota
	incomplete
	silent
)

// story is a story being played.
type story struct {
	*testing.T
	config  Config
	faults  float64
	kernel  *refusing
	proxier *Proxier
	stop    func() // ends the process; nil: it does not run
	files   map[string][]source.Event
	source  known

	mu     sync.Mutex
	silent []string // endpoints that do not answer the node itself

	// Of the loop, and read while it rests.
	writes, drift, aborted []string
}

func play(t *testing.T, file string, mode desired.Mode, faults float64) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newStory(t, mode, faults)
	defer s.end()
	for i := range archive.Files {
		part := &archive.Files[i]
		name := part.Name
		if of, rest, is := strings.Cut(name, ": "); is {
			if !slices.Contains(modes(t, file), of) {
				t.Fatalf("%s: the story is not played in that mode", name)
			}
			if of != string(mode) {
				continue
			}
			name = rest
		}
		if seen, expects := s.step(name, string(part.Data)); expects {
			s.expect(part, seen)
		}
	}
	if *update && faults == 0 {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func newStory(t *testing.T, mode desired.Mode, faults float64) *story {
	s := &story{T: t, config: testConfig(mode), faults: faults, files: map[string][]source.Event{}}
	s.kernel = &refusing{Fake: newFake(), refuse: map[state.ID]error{}}
	s.kernel.OnOp = func(op state.Op) {
		if !everywhere(op.ID) {
			s.writes = append(s.writes, op.String())
		}
	}
	s.config.AuditPeriod, s.config.DrainTimeout = 240*time.Hour, time.Hour // only steps make so much time pass
	s.config.Dial = s.dial
	s.config.Observe = func(r *report.Round) {
		for _, d := range r.Drift {
			s.drift = append(s.drift, d.String())
		}
		if r.Err != nil && !slices.Contains(s.aborted, r.Err.Error()) {
			s.aborted = append(s.aborted, r.Err.Error())
		}
	}
	return s
}

func (s *story) expect(part *txtar.File, seen string) {
	s.Helper()
	switch {
	case strings.HasSuffix(part.Name, "plan") && s.faults > 0: // retries come in between
	case *update && s.faults == 0:
		part.Data = []byte(seen)
	default:
		if diff := cmp.Diff(string(part.Data), seen); diff != "" {
			s.Errorf("%s (-story +seen):\n%s", part.Name, diff)
		}
	}
}

// step does what a part says. For one that expects something it returns what
// there is.
func (s *story) step(name, data string) (seen string, expects bool) {
	verb, arg, _ := strings.Cut(name, " ")
	if do := givens[name]; do != nil {
		do(s, data)
		return "", false
	}
	if verb == "mode" {
		return "", false
	}
	if s.proxier == nil {
		s.start()
	}
	for _, try := range [][2]string{{name, ""}, {verb, arg}} {
		if do := happenings[try[0]]; do != nil {
			do(s, try[1], data)
			return "", false
		}
		if view := views[try[0]]; view != nil {
			return join(view(s, try[1])), true
		}
	}
	s.Fatalf("no such step: %s", name)
	return "", false
}

// start starts a process, which is told all that the cluster says.
func (s *story) start() {
	s.end()
	s.proxier = New(&kernel.Faulty{Kernel: s.kernel, Share: s.faults, Rand: rand.New(rand.NewPCG(1, 2))}, s.config)
	for _, name := range sorted(s.files) {
		s.proxier.Events(s.files[name])
	}
	s.tell(s.source)
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan struct{})
	go func(p *Proxier) { defer close(done); p.Run(ctx) }(s.proxier)
	s.stop = func() { cancel(); <-done }
	s.settle()
}

// tell says how much of what the cluster says has been read.
func (s *story) tell(k known) {
	s.source = k
	if s.proxier == nil {
		return
	}
	switch k {
	case complete:
		s.proxier.Synced()
	case incomplete:
		s.proxier.Loaded()
	}
	s.settle()
}

// end ends the process, if it runs.
func (s *story) end() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// wait has time pass.
func (s *story) wait(d time.Duration) {
	if s.stop == nil {
		return
	}
	s.proxier.Events(nil) // what the story has done to the kernel, the loop must see
	time.Sleep(d)
	s.settle()
}

// settle waits until nothing is left to do, but what the kernel refuses.
func (s *story) settle() {
	if s.stop == nil {
		return
	}
	s.proxier.Events(nil) // what the story has done to the kernel, the loop must see
	if len(s.kernel.refuse) > 0 {
		time.Sleep(time.Minute) // a write that fails for a moment is no problem
	}
	for range 100 {
		time.Sleep(2 * time.Second) // facts are read, and drains looked at, each second or two
		synctest.Wait()
		if s.settled() {
			return
		}
	}
	s.Fatalf("not settled: %v, %v", s.proxier.Last().Err, s.proxier.Last().Unwritten)
}

func (s *story) settled() bool {
	r := s.proxier.Last()
	if r.Left > 0 || r.Err != nil && s.kernel.ReadErr == nil {
		return false
	}
	return !slices.ContainsFunc(r.Unwritten, func(u report.Unwritten) bool {
		waits := u.Cause == state.CauseBlocked && len(s.kernel.refuse) > 0
		never := s.kernel.refuse[u.Op.ID] != nil || s.kernel.NoDummy && u.Op.ID.Kind == state.Link
		return !never && !waits
	})
}

func join(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
