package proxier

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/model"
	"kube-ipvs/proxier/source"
	"kube-ipvs/proxier/state"
)

var update = flag.Bool("update", false, "rewrite what stories expect")

// TestStories plays testdata/stories: one txtar file a story. Its parts are
// steps, in order:
//
//	mode image         with virtual servers of ClusterIPs on images; first part only
//	put NAME           the manifest NAME is now as follows
//	remove NAME        the manifest is gone
//	conns              real servers have connections: "N real server ..." a line
//	restart            the process dies and starts again
//	later              the drain timeout passes
//	kernel             what the kernel must hold then, without what every node has
//	plan               the writes since the last such part, in order, and which flows are
//	                   looked through after them (not with faults)
//	problems           what must be reported then
//
// Each is played on a kernel that works and on one where a tenth of all writes
// fail.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		for _, faults := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("%s/%v", name, faults), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { play(t, file, faults) })
			})
		}
	}
}

// story is a story being played.
type story struct {
	*testing.T
	config  Config
	faults  float64
	fake    *kernel.Fake
	proxier *Proxier
	stop    func() // ends the process
	files   map[string][]source.Event
	writes  []string
}

func play(t *testing.T, file string, faults float64) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{T: t, config: testConfig(desired.Direct), faults: faults, fake: newFake(), files: map[string][]source.Event{}, stop: func() {}}
	s.config.DrainTimeout = 10 * time.Minute // longer than a few steps
	defer func() { s.stop() }()
	s.fake.OnOp = func(op state.Op) {
		if !everywhere(op.ID) {
			s.writes = append(s.writes, op.String())
		}
	}
	for i := range archive.Files {
		part := &archive.Files[i]
		verb, arg, _ := strings.Cut(part.Name, " ")
		if verb == "mode" {
			s.config.Desired.Mode = desired.Mode(arg)
			continue
		}
		if s.proxier == nil {
			s.start()
		}
		if seen, expects := s.step(verb, arg, string(part.Data)); expects {
			s.expect(part, seen)
		}
	}
	if *update && faults == 0 {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *story) expect(part *txtar.File, seen string) {
	s.Helper()
	switch {
	case part.Name == "plan" && s.faults > 0: // retries come in between
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
func (s *story) step(verb, arg, data string) (seen string, expects bool) {
	switch verb {
	case "put":
		s.put(arg, data)
	case "remove":
		s.put(arg, "")
	case "conns":
		s.conns(data)
	case "restart":
		s.start()
	case "later":
		time.Sleep(s.config.DrainTimeout)
		s.settle()
	case "kernel":
		return s.kernel(), true
	case "plan":
		defer func() { s.writes = nil }()
		return join(append(s.writes, s.swept()...)), true
	case "problems":
		var lines []string
		for _, p := range s.proxier.Last().Problems {
			lines = append(lines, p.String())
		}
		return join(lines), true
	default:
		s.Fatalf("no such step: %s", verb)
	}
	return "", false
}

func (s *story) start() {
	s.stop()
	s.proxier = New(&unswept{kernel.Faulty{Kernel: s.fake, Share: s.faults, Rand: rand.New(rand.NewPCG(1, 2))}}, s.config)
	s.proxier.Synced()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		s.proxier.Events(s.files[name])
	}
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.proxier.Run(ctx) }()
	s.stop = func() { cancel(); <-ended }
	s.settle()
}

// settle waits until nothing is left to do now, and what drains has been looked at.
func (s *story) settle() {
	s.proxier.Events(nil) // what the story has written, the loop must see
	for range 200 {
		time.Sleep(2 * drainInterval)
		synctest.Wait()
		if r := s.proxier.Last(); r.Err == nil && r.Failing.All()+r.Left == 0 {
			return
		}
	}
	s.Fatalf("not settled: %v", s.proxier.Last().Failures)
}

// put makes a file hold the objects in data.
func (s *story) put(name, data string) {
	var now, events []source.Event
	for _, doc := range strings.Split(data, "---\n") {
		if strings.TrimSpace(doc) != "" {
			now = append(now, s.decode(name, doc))
		}
	}
	for _, old := range s.files[name] {
		if !slices.ContainsFunc(now, func(e source.Event) bool { return key(e) == key(old) }) {
			old.Deleted = true
			events = append(events, old)
		}
	}
	s.files[name] = now
	s.proxier.Events(append(events, now...))
	s.settle()
}

func key(e source.Event) string {
	if e.Service != nil {
		return "service " + e.Service.Namespace + "/" + e.Service.Name
	}
	return "slice " + e.Slice.Namespace + "/" + e.Slice.Name
}

func (s *story) decode(name, doc string) source.Event {
	e := source.Event{Origin: name}
	var err error
	if strings.Contains(doc, "kind: EndpointSlice") {
		e.Slice = &discoveryv1.EndpointSlice{}
		if err = yaml.UnmarshalStrict([]byte(doc), e.Slice); err == nil && e.Slice.Namespace == "" {
			e.Slice.Namespace = "default"
		}
		model.DefaultSlice(e.Slice)
	} else {
		e.Service = &corev1.Service{}
		if err = yaml.UnmarshalStrict([]byte(doc), e.Service); err == nil && e.Service.Namespace == "" {
			e.Service.Namespace = "default"
		}
		model.Default(e.Service)
	}
	if err != nil {
		s.Fatal(err)
	}
	return e
}

// conns gives real servers connections.
func (s *story) conns(data string) {
	clear(s.fake.Conns)
	for _, line := range strings.Split(strings.TrimSpace(data), "\n") {
		var n uint32
		count, name, _ := strings.Cut(line, " ")
		if _, err := fmt.Sscan(count, &n); err != nil {
			s.Fatal(err)
		}
		found := false
		for id := range s.fake.State.All() {
			if id.String() == name {
				s.fake.Conns[id], found = n, true
			}
		}
		if !found {
			s.Fatalf("no %s", name)
		}
	}
	s.settle()
}

// everywhere reports whether the object stands on every node.
func everywhere(id state.ID) bool {
	switch id.Kind {
	case state.Setting, state.Link, state.Set, state.Rules, state.Route:
		return true
	}
	return false
}

// unswept is a kernel whose conntrack entries the story looks through, and not the
// goroutine beside the loop.
type unswept struct{ kernel.Faulty }

func (*unswept) Flows(context.Context) (kernel.Flows, error) {
	return nil, errors.New("it is for the story to do")
}

// swept returns what is looked through for flows that must be deleted, and has it done.
func (s *story) swept() []string {
	w := &sweeps{waiting: s.proxier.sweeper.Waiting()}
	if err := s.proxier.sweeper.Sweep(context.Background(), w); err != nil {
		s.Fatal(err)
	}
	return w.lines
}

// sweeps are a kernel's conntrack entries, of which it notes what is looked through.
type sweeps struct {
	waiting []state.ID // before the sweep
	lines   []string
}

func (w *sweeps) Delete(_ context.Context, family int, to []state.ID, _ func(kernel.Flow) bool) (int, error) {
	if to == nil {
		w.lines = append(w.lines, fmt.Sprintf("look through all flows of IPv%d", family))
	}
	for _, id := range w.waiting {
		if id.Family() == family {
			w.lines = append(w.lines, "look through "+id.String())
		}
	}
	return 0, nil
}

func (*sweeps) Close() error { return nil }

func (s *story) kernel() string {
	now := &state.State{}
	for id, spec := range s.fake.State.All() {
		if !everywhere(id) {
			now.Put(id, spec)
		}
	}
	if now.Len() == 0 {
		return ""
	}
	return now.String() + "\n"
}

func join(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
