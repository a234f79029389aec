package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"kube-ipvs/proxier/state"
)

// look is what a Reader sees of parts.
type look struct {
	Entries int
	Objects []string
	Loads   []string // of the real servers of all virtual servers
}

func lookAt(t *rapid.T, k Kernel) look {
	t.Helper()
	r, err := k.Reader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := &state.State{}
	note := func(id state.ID, spec state.SpecRef) { out.Put(id, spec) }
	n, err := r.Entries(ctx)
	if err := errors.Join(err, r.EachServer(ctx, note), r.EachRule(ctx, note), r.Close()); err != nil {
		t.Fatal(err)
	}
	return look{n, strings.Split(out.String(), "\n"), loadsOf(t, k, out)}
}

// loadsOf returns what k tells of the real servers of the virtual servers in s, sorted.
func loadsOf(t *rapid.T, k Kernel, s *state.State) (out []string) {
	t.Helper()
	for id := range s.All() {
		if id.Kind != state.VirtualServer {
			continue
		}
		loads, err := k.Loads(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range loads {
			out = append(out, fmt.Sprintf("%s weight %d, %d and %d of %d", l.Real, l.Weight, l.Active, l.Inactive, l.Began))
		}
	}
	slices.Sort(out)
	return out
}
