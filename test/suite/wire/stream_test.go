package wire

import (
	"maps"
	"sync"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// forgetful has IPVS forget most connections a second after their end.
var forgetful = []string{"--ipvs-tcpfin-timeout", "1s"}

// answers counts the outcomes of connections.
type answers map[string]int

func (a answers) sum() int {
	n := 0
	for _, of := range a {
		n += of
	}
	return n
}

// expect checks that no connection had another outcome than those named.
func (a answers) expect(t *testing.T, what string, names ...string) {
	t.Helper()
	rest := maps.Clone(a)
	for _, name := range names {
		delete(rest, name)
	}
	if len(rest) > 0 || len(a) == 0 {
		t.Errorf("%s: %v, want %q only", what, a, names)
	}
}

// connect opens n connections, one after the other, and closes each in order: of another end
// IPVS would not know, and give the next one from that port to the same endpoint.
func connect(t *testing.T, r request, n int) answers {
	out := answers{}
	for range n {
		s, err := r.from.Dial(t.Context(), r.network, r.to, r.with)
		if err != nil {
			out[testbed.Outcome(testbed.Answer{}, err)]++
			continue
		}
		out[s.First.Name]++
		s.Close()
	}
	return out
}

// stream opens connections for each of the requests, one after the other, until the returned
// function is called, which returns their outcomes.
func stream(t *testing.T, rs []request) (end func() answers) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum, done := answers{}, make(chan struct{})
	for _, r := range rs {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got := connect(t, r, 1)
				mu.Lock()
				for name, n := range got {
					sum[name] += n
				}
				mu.Unlock()
			}
		})
	}
	return func() answers {
		close(done)
		wg.Wait()
		return sum
	}
}
