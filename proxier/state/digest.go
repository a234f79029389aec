package state

import "hash/maphash"

// Digest tells whether two sets of objects are the same without holding
// either: objects are put into many cells by their hash, and each cell has a
// sum. Adding and removing costs the same however many there are. The zero
// Digest is that of no objects. Digests of one process may be compared.
type Digest struct {
	cells   [cells]uint64
	touched *[cells / 64]uint64 // a bit for each cell that has changed since Watch
}

// cells is so many that what a busy cluster changes while the kernel is read
// leaves nearly all of them alone. The first of them are for kinds that InLook.
const (
	cells     = 1 << 15
	lookCells = cells / 4
)

// InLook reports whether a look, which is cheaper than to read everything,
// reads objects of the kind.
func (k Kind) InLook() bool { return k == VirtualServer || k == Rules }

// place returns the cell of an object of a kind with a hash.
func place(k Kind, h uint64) uint64 {
	if k.InLook() {
		return h % lookCells
	}
	return lookCells + h%(cells-lookCells)
}

var seed = maphash.MakeSeed()

// hash is that of an object. It has no pointers in it, which would differ
// between equal objects.
func hash(id ID, ref SpecRef) uint64 {
	spec := ref.Value()
	return maphash.Comparable(seed, struct {
		id                          ID
		flags, timeout, weight, mtu uint32
		source                      address
		scheduler, text             string
		bare                        bool
		condition                   Condition
	}{id, spec.Flags, spec.Timeout, spec.Weight, spec.MTU, addressOf(spec.Source), spec.Scheduler, spec.Text, spec.Bare, spec.Condition})
}

// Add puts an object in, which must not be there.
func (d *Digest) Add(id ID, spec SpecRef) { d.sum(id.Kind, hash(id, spec), 1) }

// Remove takes an object out, which must be there with that Spec.
func (d *Digest) Remove(id ID, spec SpecRef) { d.sum(id.Kind, hash(id, spec), ^uint64(0)) }

func (d *Digest) sum(k Kind, h, sign uint64) {
	at := place(k, h)
	d.cells[at] += h * sign
	if d.touched != nil {
		d.touched[at/64] |= 1 << (at % 64)
	}
}

// Watch begins to note what changes.
func (d *Digest) Watch() { d.touched = new([cells / 64]uint64) }

// Differs reports whether other, made while d was watched, is of other objects
// than d, and ends the watch. What changed meanwhile is left out, with the
// little that shares a cell with it.
func (d *Digest) Differs(other *Digest) bool { return d.differs(other, cells) }

// LookDiffers is Differs of the kinds that InLook.
func (d *Digest) LookDiffers(other *Digest) bool { return d.differs(other, lookCells) }

func (d *Digest) differs(other *Digest, in int) bool {
	touched := d.touched
	d.touched = nil
	for at := range in {
		changed := touched != nil && touched[at/64]&(1<<(at%64)) != 0
		if !changed && d.cells[at] != other.cells[at] {
			return true
		}
	}
	return false
}
