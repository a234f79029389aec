package model

import (
	"hash/maphash"
	"iter"
)

// Keyed is what an Index holds: pointers to things that know their Key, which
// never changes.
type Keyed interface {
	comparable
	Named() Key
}

// Index finds things by their Key. The zero Index is empty and may be used; it
// is for one goroutine at a time.
//
// The Key is where the thing is and not in here too, as it would be in a Go map:
// a place takes 12 bytes instead of 41, and looking for one touches less memory.
type Index[T Keyed] struct {
	hashes []uint32 // open addressing with linear probing, a power of two; 0: the place is free
	things []T      // in the same places
	n      int
}

const firstPlaces = 16

var indexSeed = maphash.MakeSeed() // differs from process to process, so that nobody can choose names that collide

// Len returns how many things there are.
func (x *Index[T]) Len() int { return x.n }

// Get returns what has the Key, or the zero T.
func (x *Index[T]) Get(key Key) (thing T) {
	if at, ok := x.find(key, hashOf(key)); ok {
		return x.things[at]
	}
	return thing
}

// Put adds a thing, in place of what had its Key.
func (x *Index[T]) Put(thing T) {
	x.Expect(1)
	key := thing.Named()
	h := hashOf(key)
	at, had := x.find(key, h)
	if !had {
		x.hashes[at] = h
		x.n++
	}
	x.things[at] = thing
}

// Delete takes out what has the Key, if there is something.
func (x *Index[T]) Delete(key Key) {
	at, ok := x.find(key, hashOf(key))
	if !ok {
		return
	}
	// Those behind it that were put off by it move up.
	mask := len(x.hashes) - 1
	for next := (at + 1) & mask; x.hashes[next] != 0; next = (next + 1) & mask {
		home := int(x.hashes[next]) & mask
		if (next-home)&mask >= (next-at)&mask {
			x.hashes[at], x.things[at] = x.hashes[next], x.things[next]
			at = next
		}
	}
	var none T
	x.hashes[at], x.things[at] = 0, none
	x.n--
	if len(x.hashes) > firstPlaces && 8*x.n < len(x.hashes) {
		x.resize(len(x.hashes) / 4)
	}
}

// Expect makes room for n things more.
func (x *Index[T]) Expect(n int) {
	size := max(firstPlaces, len(x.hashes))
	for 16*(x.n+n) > 13*size { // fuller, and the runs of places would be long
		size *= 2
	}
	if size > len(x.hashes) {
		x.resize(size)
	}
}

// All goes through what is there, in no order. It must not be changed meanwhile.
func (x *Index[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for at, h := range x.hashes {
			if h != 0 && !yield(x.things[at]) {
				return
			}
		}
	}
}

// hashOf is never 0.
func hashOf(key Key) uint32 { return uint32(maphash.Comparable(indexSeed, key)) | 1<<31 }

// find returns the place of what has the key, or the free one that it may have.
func (x *Index[T]) find(key Key, h uint32) (at int, ok bool) {
	if x.hashes == nil {
		return 0, false
	}
	mask := len(x.hashes) - 1
	for at = int(h) & mask; ; at = (at + 1) & mask {
		switch x.hashes[at] {
		case 0:
			return at, false
		case h:
			if x.things[at].Named() == key {
				return at, true
			}
		}
	}
}

func (x *Index[T]) resize(size int) {
	old := *x
	x.hashes, x.things = make([]uint32, size), make([]T, size)
	mask := size - 1
	for from, h := range old.hashes {
		if h == 0 {
			continue
		}
		at := int(h) & mask
		for x.hashes[at] != 0 {
			at = (at + 1) & mask
		}
		x.hashes[at], x.things[at] = h, old.things[from]
	}
}
