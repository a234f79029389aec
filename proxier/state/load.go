package state

// Load is what a real server does.
type Load struct {
	Real             ID
	Weight           uint32 // as ServingWeight returns it
	Active, Inactive uint32 // connections, as Dest of package kernel/ipvs counts them
	Began            uint64 // connections since it was added; the kernel updates it every two seconds
}

// Overhead is the connections as a scheduler counts them (ip_vs.h, ip_vs_dest_conn_overhead).
func (l Load) Overhead() float64 { return float64(l.Active) + float64(l.Inactive)/256 }
