package proxier

import (
	"testing"

	"kube-ipvs/proxier/desired"
	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

// A preview says which desired weights are reduced.
func TestPreviewTellsReduced(t *testing.T) {
	events := clusterOf(1, 2)
	events[0].Service.Annotations = map[string]string{"kube-ipvs/weights": "node=n9:0"}
	events[1].Slice.Endpoints[1].NodeName = new("n9")
	p := New(kernel.ReadOnly{Kernel: newFake()}, testConfig(desired.Direct))
	p.Events(events)
	p.Loaded()
	preview, err := p.Preview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range preview.Table.Wanted(preview.Model.Keys()[0]) {
		if o.ID.Kind == state.RealServer && (preview.Reduced[o.ID] == state.ZeroWeight) != (o.Spec.Value().Weight == 0) {
			t.Errorf("%s has weight %d, and stands as %q", o.ID, o.Spec.Value().Weight, preview.Reduced[o.ID])
		}
	}
	if len(preview.Reduced) != 1 {
		t.Errorf("reduced: %v", preview.Reduced)
	}
}
