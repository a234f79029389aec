package state

// Fills has how full the virtual servers are whose real servers have limits of connections
// (max-connections). The zero Fills is empty and ready for use.
type Fills struct{ of map[ID]fill }

// fill has sums over the real servers of a virtual server that have a weight.
type fill struct {
	connections, limit uint64
	free               bool // one is below its limit
}

// Add adds a real server. One without a limit or without a weight does not count.
func (f *Fills) Add(l Load) {
	if l.Upper == 0 || l.Weight == 0 {
		return
	}
	if f.of == nil {
		f.of = map[ID]fill{}
	}
	connections := min(l.Active+l.Inactive, l.Upper) // the limit may have been lowered
	sum := f.of[l.Real.Server()]
	sum.connections += uint64(connections)
	sum.limit += uint64(l.Upper)
	sum.free = sum.free || connections < l.Upper
	f.of[l.Real.Server()] = sum
}

// Full returns the virtual servers that refuse new clients, since each real server has as many
// connections as it may have. One that was full before stays so until they have less than nine
// tenths of that together: one at the verge does not come and go.
func (f Fills) Full(before map[ID]bool) map[ID]bool {
	full := map[ID]bool{}
	for server, sum := range f.of {
		if !sum.free || before[server] && 10*sum.connections >= 9*sum.limit {
			full[server] = true
		}
	}
	return full
}
