package source

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/tools/cache"
)

// decodeList reads a list of a kind from an API server's answer. From protobuf each
// object is decoded and slimmed before the next one is read: a large list is never in
// memory as a whole. It fails if the answer ends early or is not a list of that kind.
func decodeList(answer io.Reader, k kind, slim cache.TransformFunc) (runtime.Object, error) {
	const magic = "k8s\x00" // in front of a runtime.Unknown in protobuf
	in := bufio.NewReader(answer)
	if start, _ := in.Peek(len(magic)); string(start) == magic {
		_, _ = in.Discard(len(magic)) // has been peeked
		l := &listReader{kind: k, slim: slim}
		return complete(&l.List, eachField(in, l.envelope))
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	list, _, err := fromJSON.Decode(text, nil, nil) // not into a list, which would accept any text without a kind
	if want := reflect.TypeOf(k.list()); err == nil && reflect.TypeOf(list) != want {
		err = fmt.Errorf("the API server answered with a %T instead of a %s", list, want)
	}
	return complete(list, err)
}

// fromJSON does not read YAML, since a part of a YAML text is valid too.
var fromJSON = json.NewSerializerWithOptions(json.DefaultMetaFactory, apiScheme, apiScheme, json.SerializerOptions{})

// complete refuses a list without a version: it has ended early, and would count as empty.
func complete(list runtime.Object, err error) (runtime.Object, error) {
	if err != nil {
		return nil, err
	}
	m, err := meta.ListAccessor(list)
	if err == nil && m.GetResourceVersion() == "" {
		err = fmt.Errorf("the API server answered with a %T without a version", list)
	}
	return list, err
}

// listReader reads a list.
type listReader struct {
	internalversion.List
	kind kind
	slim cache.TransformFunc
	of   runtime.TypeMeta
	raw  bytes.Buffer // is used again
}

// envelope reads a field of a runtime.Unknown.
func (l *listReader) envelope(number int, content *io.LimitedReader) error {
	switch number {
	case 1: // typeMeta
		return l.unmarshal(content, &l.of)
	case 2: // raw
		if want := reflect.TypeOf(l.kind.list()).Elem().Name(); l.of.Kind != want {
			return fmt.Errorf("the API server answered with a %s instead of a %s", l.of.Kind, want)
		}
		return eachField(bufio.NewReader(content), l.field)
	}
	return nil
}

// field reads a field of a list.
func (l *listReader) field(number int, content *io.LimitedReader) error {
	switch number {
	case 1: // metadata
		return l.unmarshal(content, &l.ListMeta)
	case 2: // items
		o := reflect.New(reflect.TypeOf(l.kind.typ).Elem()).Interface().(message)
		if err := l.unmarshal(content, o); err != nil {
			return err
		}
		slim, err := l.slim(o)
		l.Items = append(l.Items, slim.(runtime.Object))
		return err
	}
	return nil
}

// message is a generated type of protobuf.
type message interface{ Unmarshal([]byte) error }

func (l *listReader) unmarshal(content *io.LimitedReader, into message) error {
	l.raw.Reset()
	if err := whole(io.CopyN(&l.raw, content, content.N)); err != nil { // grows with the content, not with the announced length
		return err
	}
	return into.Unmarshal(l.raw.Bytes()) // copies what it keeps
}

// eachField calls f with the fields of a message until its end. All fields must have a length. It
// skips content that f does not read.
func eachField(in *bufio.Reader, f func(number int, content *io.LimitedReader) error) error {
	const ofLength, most = 2, 1 << 31
	for {
		tag, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		length, err := binary.ReadUvarint(in)
		if err != nil {
			return whole(0, err)
		}
		if tag&7 != ofLength || length > most {
			return fmt.Errorf("field %d of a list has wire type %d and length %d", tag>>3, tag&7, length)
		}
		content := &io.LimitedReader{R: in, N: int64(length)}
		if err := f(int(tag>>3), content); err != nil {
			return err
		}
		if err := whole(io.CopyN(io.Discard, content, content.N)); err != nil {
			return err
		}
	}
}

// whole returns the error of a copy, and an early end as io.ErrUnexpectedEOF.
func whole(_ int64, err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
