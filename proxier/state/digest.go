package state

import "hash/maphash"

// Digest compares two sets of objects without holding them: a hash puts each object into
// one of many cells, and each cell has a sum. The cost of Add and Remove does not depend
// on the number of objects. The zero Digest is that of no objects. Only Digests of one
// process are comparable.
type Digest struct {
	cells   [cells]uint64
	touched *[cells / 64]uint64 // a bit for each cell that has changed since Watch
}

// cells is so large that the changes of a busy cluster during a read of the kernel leave
// nearly all cells alone. The first cells are for kinds that are InLook.
const (
	cells     = 1 << 15
	lookCells = cells / 4
)

// InLook reports whether a look, which is cheaper than a full read, reads objects of the kind.
func (k Kind) InLook() bool { return k == VirtualServer || k == Rules }

// place returns the cell of an object of a kind with a hash.
func place(k Kind, h uint64) uint64 {
	if k.InLook() {
		return h % lookCells
	}
	return lookCells + h%(cells-lookCells)
}

var seed = maphash.MakeSeed()

// hash returns the hash of an object. It leaves out pointers, which differ between equal
// objects.
func hash(id ID, ref SpecRef) uint64 {
	spec := ref.Value()
	return maphash.Comparable(seed, struct {
		id                                 ID
		flags, timeout, weight, upper, mtu uint32
		source                             address
		scheduler, text                    string
		bare                               bool
		condition                          Condition
	}{id, spec.Flags, spec.Timeout, spec.Weight, spec.Upper, spec.MTU, addressOf(spec.Source), spec.Scheduler, spec.Text, spec.Bare, spec.Condition})
}

// Add adds an object, which must not be in d.
func (d *Digest) Add(id ID, spec SpecRef) { d.sum(id.Kind, hash(id, spec), 1) }

// Remove removes an object, which must be in d with that Spec.
func (d *Digest) Remove(id ID, spec SpecRef) { d.sum(id.Kind, hash(id, spec), ^uint64(0)) }

func (d *Digest) sum(k Kind, h, sign uint64) {
	at := place(k, h)
	d.cells[at] += h * sign
	if d.touched != nil {
		d.touched[at/64] |= 1 << (at % 64)
	}
}

// Watch begins to note the cells that change.
func (d *Digest) Watch() { d.touched = new([cells / 64]uint64) }

// Differs reports whether other, made since Watch, has other objects than d, and ends the
// watch. It does not compare the cells that changed since Watch.
func (d *Digest) Differs(other *Digest) bool { return d.differs(other, cells) }

// LookDiffers is Differs for the kinds that are InLook.
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
