package relay

import "sync"

// places bounds the connections, in all and of each node port, so that no Service takes all places.
type places struct {
	most, each int

	mu    sync.Mutex
	taken int
	of    map[uint16]int
}

func newPlaces(most, each int) *places {
	return &places{most: most, each: each, of: map[uint16]int{}}
}

// take takes a place for a node port. It reports whether there was one.
func (p *places) take(port uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.most || p.of[port] >= p.each {
		return false
	}
	p.taken++
	p.of[port]++
	return true
}

// leave returns a place.
func (p *places) leave(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[port]--; p.of[port] == 0 {
		delete(p.of, port)
	}
}

// full reports whether a node port has the largest number of places.
func (p *places) full(port uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[port] >= p.each
}
