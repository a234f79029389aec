package state

// Load is what a real server does.
type Load struct {
	Real             ID
	Weight           uint32
	Upper            uint32 // as in Spec
	Active, Inactive uint32 // connections, as Dest of package kernel/ipvs counts them
	Began            uint64 // connections since it was added; the kernel updates it every two seconds
}

// Overhead is the connections as a scheduler counts them (ip_vs.h, ip_vs_dest_conn_overhead).
func (l Load) Overhead() float64 { return float64(l.Active) + float64(l.Inactive)/256 }

// Standing says why a real server gets fewer new connections than its full weight would give
// it, or none.
type Standing string

// The standings. A real server without one takes its full part.
const (
	Draining   Standing = "draining"    // weight 0: not desired, or kept only for its UDP flows
	ZeroWeight Standing = "zero_weight" // weight 0: by a weight rule of its Service
	Ejected    Standing = "ejected"     // weight 0: it answers no new connections
	SlowStart  Standing = "slow_start"  // its weight rises, perhaps from 0
	AtLimit    Standing = "at_limit"    // it has as many connections as it may have
	NoNew      Standing = "no_new"      // weight 0, and the reason is not known
)

// Reduced has the desired real servers that a desired weight gives fewer connections than
// their full weight would, or none: those in slow start, and those of weight 0 by a rule.
type Reduced map[ID]Standing

// Standings has all of them.
var Standings = []Standing{Draining, ZeroWeight, Ejected, SlowStart, AtLimit, NoNew}

// Standing returns the standing of a real server as the kernel has it; "": it takes its full
// part. nil reduced: what is desired is not known.
func (l Load) Standing(reduced Reduced) Standing {
	why := reduced[l.Real]
	switch {
	case l.Weight == 0 && reduced == nil:
		return NoNew
	case l.Weight == 0 && why == "":
		return Draining
	case l.Weight == 0:
		return why
	case l.Upper > 0 && l.Active+l.Inactive >= l.Upper: // ip_vs_conn.c, ip_vs_bind_dest
		return AtLimit
	case why == SlowStart:
		return why
	}
	return ""
}
