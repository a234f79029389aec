package checks

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"kube-ipvs/proxier/kernel"
	"kube-ipvs/proxier/state"
)

var (
	web    = netip.MustParseAddrPort("10.96.0.1:80")
	server = state.VirtualServerID(state.TCP, web)
	real   = state.RealServerID(server, netip.MustParseAddrPort("10.244.0.1:80"))
	entry  = state.EntryID(state.SetCluster, state.TCP, web)
)

// What an audit and a look tell of a kernel that another program has changed, or that
// the loop itself has while they read.
func TestVerdicts(t *testing.T) {
	for name, tt := range map[string]struct {
		harm, write state.ID // deleted by another program, and by the loop while it is read
		agrees      bool     // the audit
		calm        bool     // the look: no audit follows
	}{
		"nothing":                   {agrees: true, calm: true},
		"a virtual server is gone":  {harm: server},
		"an entry is gone":          {harm: entry},
		"a real server is gone":     {harm: real, calm: true},
		"the loop deletes an entry": {write: entry, agrees: true, calm: true},
		"both at once":              {harm: server, write: entry},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, digest, entries, written := kernel.NewFake(), &state.Digest{}, 1, uint64(0)
				for _, id := range []state.ID{server, real, entry} {
					k.State.Put(id, state.Weight(1))
					digest.Add(id, state.Weight(1))
				}
				back := make(chan *Reading, 1)
				c := New(k, slog.New(slog.DiscardHandler), func(r *Reading) { back <- r })
				believed := func() Belief { return Belief{Digest: digest, Entries: entries, Written: written} }
				read := func() Verdict {
					c.Begin(t.Context(), believed())
					if tt.write != (state.ID{}) && written == 0 {
						digest.Remove(tt.write, state.Weight(1))
						entries, written = entries-1, written+1
					}
					return c.Judge([]*Reading{<-back}, believed())
				}
				k.State.Delete(tt.harm)
				c.RulesChanged()
				time.Sleep(time.Until(c.Next()))
				if v := read(); v.Agrees || v.Differs || v.Err != nil {
					t.Errorf("a look has the verdict %+v", v)
				}
				if calm := c.Next().IsZero(); calm != tt.calm {
					t.Errorf("after the look nothing is suspected: %v, want %v", calm, tt.calm)
				}
				k.State.Delete(tt.write)
				written = 0
				tt.write = state.ID{}
				c.Ask()
				if v := read(); v.Agrees != tt.agrees || v.Differs == tt.agrees || v.Err != nil {
					t.Errorf("an audit has the verdict %+v", v)
				}
			})
		})
	}
}
