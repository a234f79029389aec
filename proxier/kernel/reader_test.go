package kernel

import (
	"errors"
	"strings"

	"pgregory.net/rapid"

	"kube-ipvs/proxier/state"
)

// look is what a Reader sees of parts.
type look struct {
	Entries int
	Objects []string
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
	return look{n, strings.Split(out.String(), "\n")}
}
