package model

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

type thing struct{ key Key }

func (t *thing) Named() Key { return t.key }

// An Index does what a Go map does, through growing, emptying and long runs of
// places around its end.
func TestIndexIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x Index[*thing]
	want := map[Key]*thing{}
	for step := range 30_000 {
		growing := step/5000%2 == 0 // half of the time it shrinks
		key := Key{"ns", fmt.Sprint(r.IntN(2000))}
		if r.IntN(10) < 8 == growing {
			v := &thing{key}
			x.Put(v)
			want[key] = v
		} else {
			x.Delete(key)
			delete(want, key)
		}
		if probe := (Key{"ns", fmt.Sprint(r.IntN(2000))}); x.Get(probe) != want[probe] || x.Get(key) != want[key] || x.Len() != len(want) {
			t.Fatalf("step %d: %s: got %v of %d, want %v of %d", step, probe, x.Get(probe), x.Len(), want[probe], len(want))
		}
		if step%1000 == 0 {
			checkIndex(t, &x, want)
		}
	}
	for key := range want {
		x.Delete(key)
		delete(want, key)
		if x.Len()%100 == 0 {
			checkIndex(t, &x, want)
		}
	}
	if len(x.hashes) > firstPlaces {
		t.Errorf("empty, it has %d places", len(x.hashes))
	}
}

func checkIndex(t *testing.T, x *Index[*thing], want map[Key]*thing) {
	t.Helper()
	seen := map[Key]bool{}
	for v := range x.All() {
		if want[v.key] != v || seen[v.key] {
			t.Fatalf("All has %v, want %v", v, want[v.key])
		}
		seen[v.key] = true
	}
	if len(seen) != len(want) {
		t.Fatalf("All has %d, want %d", len(seen), len(want))
	}
	for key, v := range want {
		if x.Get(key) != v {
			t.Fatalf("%s: got %v", key, x.Get(key))
		}
	}
}

func TestIndexExpects(t *testing.T) {
	var x Index[*thing]
	x.Put(&thing{Key{"a", "first"}})
	x.Expect(1000)
	places := len(x.hashes)
	for i := range 1000 {
		x.Put(&thing{Key{"a", fmt.Sprint(i)}})
	}
	if len(x.hashes) != places || x.Len() != 1001 {
		t.Errorf("%d things in %d places, which were %d", x.Len(), len(x.hashes), places)
	}
	if x.Get(Key{"a", "first"}) == nil || x.Get(Key{"", "first"}) != nil {
		t.Error("Expect has lost one, or a namespace does not count")
	}
	for range x.All() {
		break
	}
}
