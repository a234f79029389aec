package state

import (
	"hash/maphash"
	"iter"
	"slices"
)

// Map holds a V for each of many IDs. The zero Map is empty and ready for use.
//
// 10,000 Services with ten endpoints each make 150,000 objects. So Map is small and grows
// without a copy: the garbage collector need not look into the pages of IDs, values lie
// beside them, and growth makes only the index anew, of eight bytes for each ID.
type Map[V any] struct {
	index  []cell // open addressing with linear probing, a power of two; nil: empty
	ids    [][]ID // pages, all full but the last
	values [][]V  // the values of ids, in the same pages
	n      int
}

// cell is an ID in the index.
type cell struct {
	hash uint32
	at   uint32 // its number, from 1; 0: the cell is free
}

const (
	pageBits  = 11 // 2,048 IDs fill 11 pages of the heap exactly
	pageSize  = 1 << pageBits
	firstPage = 8 // the first page grows, since many Maps are small
	firstSize = 16
)

// Len returns the number of IDs.
func (m *Map[V]) Len() int { return m.n }

// Get returns the value of id; ok reports whether m has id.
func (m *Map[V]) Get(id ID) (v V, ok bool) {
	if n, ok := m.number(id); ok {
		return *m.value(n), true
	}
	return v, false
}

// Has reports whether m has id.
func (m *Map[V]) Has(id ID) bool {
	_, ok := m.find(id, hashOf(id))
	return ok
}

// number returns the number of id, which the methods id and value take.
func (m *Map[V]) number(id ID) (n uint32, ok bool) {
	at, ok := m.find(id, hashOf(id))
	if !ok {
		return 0, false
	}
	return m.index[at].at - 1, true
}

// Put sets the value of id to v. It returns the value from before; had reports whether m
// had id.
func (m *Map[V]) Put(id ID, v V) (old V, had bool) {
	if 16*(m.n+1) > 13*len(m.index) { // longer runs of cells would cost more than they save
		m.resize(max(firstSize, 2*len(m.index)))
	}
	h := hashOf(id)
	at, had := m.find(id, h)
	if had {
		value := m.value(m.index[at].at - 1)
		old, *value = *value, v
		return old, true
	}
	last := m.n >> pageBits
	if last == len(m.ids) {
		size := pageSize
		if last == 0 {
			size = firstPage
		}
		m.ids, m.values = append(m.ids, make([]ID, 0, size)), append(m.values, make([]V, 0, size))
	}
	m.ids[last], m.values[last] = append(m.ids[last], id), append(m.values[last], v)
	m.n++
	m.index[at] = cell{h, uint32(m.n)}
	return old, false
}

// Delete removes id, and returns the same as Put. The last ID takes its number.
func (m *Map[V]) Delete(id ID) (old V, had bool) {
	at, had := m.find(id, hashOf(id))
	if !had {
		return old, false
	}
	number := m.index[at].at - 1
	old = *m.value(number)
	if last := uint32(m.n - 1); number != last {
		moved := *m.id(last)
		of, _ := m.find(moved, hashOf(moved))
		m.index[of].at = number + 1
		*m.id(number), *m.value(number) = moved, *m.value(last)
	}
	m.vacate(at)
	m.shorten()
	return old, true
}

// All yields the IDs and values, in no order. m must not change meanwhile.
func (m *Map[V]) All() iter.Seq2[ID, V] {
	return func(yield func(ID, V) bool) {
		for page, ids := range m.ids {
			for i := range ids {
				if !yield(ids[i], m.values[page][i]) {
					return
				}
			}
		}
	}
}

func (m *Map[V]) clone() Map[V] {
	c := Map[V]{index: slices.Clone(m.index), n: m.n}
	for page := range m.ids {
		c.ids, c.values = append(c.ids, slices.Clone(m.ids[page])), append(c.values, slices.Clone(m.values[page]))
	}
	return c
}

func (m *Map[V]) id(number uint32) *ID { return &m.ids[number>>pageBits][number%pageSize] }

func (m *Map[V]) value(number uint32) *V { return &m.values[number>>pageBits][number%pageSize] }

// hashOf differs by process, so that no user can choose addresses that collide.
func hashOf(id ID) uint32 { return uint32(maphash.Comparable(seed, id)) }

// find returns the cell of id; if m does not have it, the free cell for it.
func (m *Map[V]) find(id ID, h uint32) (at int, ok bool) {
	if m.index == nil {
		return 0, false
	}
	mask := len(m.index) - 1
	for at = int(h) & mask; ; at = (at + 1) & mask {
		switch c := m.index[at]; {
		case c.at == 0:
			return at, false
		case c.hash == h && *m.id(c.at - 1) == id:
			return at, true
		}
	}
}

// vacate frees a cell. Cells behind it that it displaced move up.
func (m *Map[V]) vacate(at int) {
	mask := len(m.index) - 1
	for next := (at + 1) & mask; m.index[next].at != 0; next = (next + 1) & mask {
		home := int(m.index[next].hash) & mask
		if (next-home)&mask >= (next-at)&mask {
			m.index[at] = m.index[next]
			at = next
		}
	}
	m.index[at] = cell{}
}

// shorten removes the last slot of the pages, and releases memory when most IDs are gone.
func (m *Map[V]) shorten() {
	m.n--
	last := m.n >> pageBits
	if m.n%pageSize == 0 {
		m.ids, m.values = slices.Delete(m.ids, last, last+1), slices.Delete(m.values, last, last+1)
	} else {
		ids, values := m.ids[last], m.values[last]
		m.ids[last], m.values[last] = ids[:len(ids)-1], slices.Delete(values, len(values)-1, len(values))
	}
	if m.n == 0 {
		*m = Map[V]{}
	} else if len(m.index) > firstSize && 8*m.n < len(m.index) {
		m.resize(len(m.index) / 4)
	}
}

// resize makes the index anew.
func (m *Map[V]) resize(size int) {
	old := m.index
	m.index = make([]cell, size)
	mask := size - 1
	for _, c := range old {
		if c.at == 0 {
			continue
		}
		at := int(c.hash) & mask
		for m.index[at].at != 0 {
			at = (at + 1) & mask
		}
		m.index[at] = c
	}
}
