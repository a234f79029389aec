package relay

import "sync"

// places bounds what there may be at once, in all and of one node port: no Service
// takes them all.
type places struct {
	most, each int

	mu    sync.Mutex
	taken int
	of    map[uint16]int
}

func newPlaces(most, each int) *places {
	return &places{most: most, each: each, of: map[uint16]int{}}
}

// take takes a place for a node port, if there is one.
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

// leave gives back what take took.
func (p *places) leave(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[port]--; p.of[port] == 0 {
		delete(p.of, port)
	}
}

// full reports whether a node port has as many places as one may have.
func (p *places) full(port uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[port] >= p.each
}
