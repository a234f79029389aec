package state

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Packed is a list of objects in little memory: a real server after another takes four or
// five bytes. It can only be read from the first object to the last.
//
// Each object is a record, and data has the bytes that differ from the record before: a
// varint with a bit for each byte of the record, the lowest for the first, and then those
// bytes.
type Packed struct {
	data  string
	specs []SpecRef // a record has an index into usual and then specs
}

// usual are the Specs that most objects have.
var usual = [...]SpecRef{None, Weight(1)}

// record is an object as bytes. The bytes that differ most often come first.
type record [47]byte

func (r *record) set(id *ID, spec int) {
	*r = record{4: byte(id.Kind), 6: byte(id.Set), 9: id.peer.family, 12: byte(id.Proto), 13: id.Bits, 18: id.addr.family, 19: byte(id.Setting)}
	binary.LittleEndian.PutUint16(r[7:], id.PeerPort)
	binary.LittleEndian.PutUint16(r[10:], id.Port)
	r[5], r[44], r[45], r[46] = byte(spec), byte(spec>>8), byte(spec>>16), byte(spec>>24)
	for i := range 4 {
		r[i], r[14+i] = id.peer.bytes[15-i], id.addr.bytes[15-i]
	}
	copy(r[20:], id.peer.bytes[:12])
	copy(r[32:], id.addr.bytes[:12])
}

func (r *record) get() (id ID, spec int) {
	id = ID{Kind: Kind(r[4]), Set: SetName(r[6]), Proto: Protocol(r[12]), Bits: r[13], Setting: SettingKey(r[19]),
		PeerPort: binary.LittleEndian.Uint16(r[7:]), Port: binary.LittleEndian.Uint16(r[10:])}
	id.peer.family, id.addr.family = r[9], r[18]
	for i := range 4 {
		id.peer.bytes[15-i], id.addr.bytes[15-i] = r[i], r[14+i]
	}
	copy(id.peer.bytes[:12], r[20:])
	copy(id.addr.bytes[:12], r[32:])
	return id, int(r[5]) | int(r[44])<<8 | int(r[45])<<16 | int(r[46])<<24
}

// Packer packs objects. The zero Packer is ready for use, and Done makes it so again.
type Packer struct {
	last  record
	data  []byte
	specs []SpecRef
	at    map[spec]int // index into specs, once they are many
}

// Add appends an object.
func (p *Packer) Add(id ID, spec SpecRef) {
	var now record
	now.set(&id, p.place(spec))
	var differ uint64
	for i := range now {
		if now[i] != p.last[i] {
			differ |= 1 << i
		}
	}
	p.data = binary.AppendUvarint(p.data, differ)
	for i := 0; differ != 0; i, differ = i+1, differ>>1 {
		if differ&1 != 0 {
			p.data = append(p.data, now[i])
		}
	}
	p.last = now
}

// place returns the index of a Spec in usual and then specs, and adds it if it is new.
func (p *Packer) place(ref SpecRef) int {
	if at := slices.IndexFunc(usual[:], ref.Equal); at >= 0 {
		return at
	}
	at, ok := p.find(ref)
	if !ok {
		at = len(p.specs)
		p.specs = append(p.specs, ref)
		if p.at != nil {
			p.at[*ref.spec] = at
		}
	}
	return len(usual) + at
}

// find returns the index of a Spec in specs. There may be many: a Service of a thousand
// ports has as many comments.
func (p *Packer) find(ref SpecRef) (at int, ok bool) {
	const few = 16
	if len(p.specs) <= few {
		at = slices.IndexFunc(p.specs, ref.Equal)
		return at, at >= 0
	}
	if p.at == nil {
		p.at = make(map[spec]int, 2*few)
		for i, s := range p.specs {
			p.at[*s.spec] = i
		}
	}
	at, ok = p.at[*ref.spec]
	return at, ok
}

// Done returns the objects that were added since the last Done.
func (p *Packer) Done() Packed {
	out := Packed{data: string(p.data), specs: slices.Clone(p.specs)}
	clear(p.specs)
	p.last, p.data, p.specs, p.at = record{}, p.data[:0], p.specs[:0], nil
	return out
}

// All returns the objects, in order.
func (p Packed) All() iter.Seq2[ID, SpecRef] {
	return func(yield func(ID, SpecRef) bool) {
		var r record
		for data := p.data; data != ""; {
			var differ uint64
			for shift := 0; ; shift += 7 {
				b := data[0]
				data = data[1:]
				differ |= uint64(b&0x7f) << shift
				if b < 0x80 {
					break
				}
			}
			for i := 0; differ != 0; i, differ = i+1, differ>>1 {
				if differ&1 != 0 {
					r[i], data = data[0], data[1:]
				}
			}
			id, at := r.get()
			spec := usual[min(at, len(usual)-1)]
			if at >= len(usual) {
				spec = p.specs[at-len(usual)]
			}
			if !yield(id, spec) {
				return
			}
		}
	}
}
