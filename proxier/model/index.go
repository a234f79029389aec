package model

import (
	"hash/maphash"
	"iter"
)

// Keyed is an element of an Index: a pointer to a thing with a Key that never changes.
type Keyed interface {
	comparable
	Named() Key
}

// Index finds things by their Key. The zero Index is empty and ready for use. Only one
// goroutine at a time may use it.
//
// Unlike a Go map it has no copy of the Key. So a place takes 12 bytes instead of 41, and a
// search touches less memory.
type Index[T Keyed] struct {
	hashes []uint32 // open addressing with linear probing, a power of two; 0: the place is free
	things []T      // in the same places
	n      int
}

const firstPlaces = 16

var indexSeed = maphash.MakeSeed() // random for each process, so that a tenant cannot choose names that collide

// Len returns the number of things.
func (x *Index[T]) Len() int { return x.n }

// Get returns the thing with the Key, or the zero T.
func (x *Index[T]) Get(key Key) (thing T) {
	if at, ok := x.find(key, hashOf(key)); ok {
		return x.things[at]
	}
	return thing
}

// Put adds a thing, or replaces the one with its Key.
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

// Delete removes the thing with the Key, if any.
func (x *Index[T]) Delete(key Key) {
	at, ok := x.find(key, hashOf(key))
	if !ok {
		return
	}
	// The things behind it that did not find their place free move up.
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

// Expect makes room for n more things.
func (x *Index[T]) Expect(n int) {
	size := max(firstPlaces, len(x.hashes))
	for 16*(x.n+n) > 13*size { // a fuller table would have long runs of places
		size *= 2
	}
	if size > len(x.hashes) {
		x.resize(size)
	}
}

// All yields all things, in no order. Do not change the Index meanwhile.
func (x *Index[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for at, h := range x.hashes {
			if h != 0 && !yield(x.things[at]) {
				return
			}
		}
	}
}

// hashOf returns the hash of a key, which is never 0.
func hashOf(key Key) uint32 { return uint32(maphash.Comparable(indexSeed, key)) | 1<<31 }

// find returns the place of the thing with the key, or the free place for it.
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
