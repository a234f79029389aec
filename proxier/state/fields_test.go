package state

import (
	"net/netip"
	"reflect"
	"testing"
	"unsafe"
)

// Code that reads an ID or a Spec field by field must read all fields: a field that Packed
// lost, or that Digest could not see, would be a change of the kernel's state that is never
// noticed. These tests walk the fields, so that a new one cannot be forgotten.

// someID has no field that is zero.
var someID = ID{Port: 80, PeerPort: 8080, addr: addressOf(netip.MustParseAddr("fd00::1")), peer: addressOf(netip.MustParseAddr("fd00::2")),
	Kind: Entry, Set: SetVIPs, Setting: 1, Proto: TCP, Bits: 64}

// leaves calls f with each field of a type that has no fields itself, by its offset.
func leaves(typ reflect.Type, name string, offset uintptr, f func(name string, offset, size uintptr)) {
	switch typ.Kind() {
	case reflect.Struct:
		for i := range typ.NumField() {
			field := typ.Field(i)
			leaves(field.Type, name+"."+field.Name, offset+field.Offset, f)
		}
	case reflect.Array:
		for i := range typ.Len() {
			leaves(typ.Elem(), name, offset+uintptr(i)*typ.Elem().Size(), f)
		}
	default:
		f(name, offset, typ.Size())
	}
}

func sumOf(id ID, spec SpecRef) *Digest {
	d := &Digest{}
	d.Add(id, spec)
	return d
}

func packed(id ID, spec SpecRef) (ID, SpecRef) {
	var p Packer
	p.Add(id, spec)
	list := p.Done()
	for id, spec := range list.All() {
		return id, spec
	}
	return ID{}, None
}

func TestEveryFieldOfAnIDCounts(t *testing.T) {
	n := 0
	leaves(reflect.TypeFor[ID](), "ID", 0, func(name string, offset, size uintptr) {
		n++
		for at := range size {
			other := someID
			*(*byte)(unsafe.Add(unsafe.Pointer(&other), offset+at)) ^= 2
			if someID.Compare(other) == 0 || other.Compare(someID) == 0 {
				t.Errorf("%s: Compare does not look at byte %d", name, at)
			}
			if !sumOf(someID, None).Differs(sumOf(other, None)) {
				t.Errorf("%s: Digest does not look at byte %d", name, at)
			}
			if got, _ := packed(other, None); got != other {
				t.Errorf("%s: Packed loses byte %d", name, at)
			}
		}
	})
	if n < 9 {
		t.Errorf("%d fields were found", n)
	}
}

func TestEveryFieldOfASpecCounts(t *testing.T) {
	for i := range reflect.TypeFor[Spec]().NumField() {
		var s Spec
		name := reflect.TypeFor[Spec]().Field(i).Name
		switch field := reflect.ValueOf(&s).Elem().Field(i); field.Interface().(type) {
		case string:
			field.SetString("text")
		case uint32:
			field.SetUint(1 << 20)
		case bool:
			field.SetBool(true)
		case Condition:
			field.SetUint(uint64(WrongRoute))
		case netip.Addr:
			field.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		default:
			t.Fatalf("%s: this test knows no %s", name, field.Type())
		}
		ref := Intern(s)
		if ref.Value() != s || ref.Equal(None) || !ref.Equal(Intern(s)) {
			t.Errorf("%s: Equal does not look at it, or Intern loses it", name)
		}
		if !sumOf(someID, None).Differs(sumOf(someID, ref)) {
			t.Errorf("%s: Digest does not look at it", name)
		}
		if _, got := packed(someID, ref); got.Value() != s {
			t.Errorf("%s: Packed loses it", name)
		}
	}
}
