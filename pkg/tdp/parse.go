package tdp

import (
	"encoding/binary"
	"fmt"
	"image"
	"strings"
)

// Parse reads a message. What it returns aliases b. Its error wraps [ErrShort] or
// [ErrSize].
func Parse(b []byte) (Message, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("parse desktop message: %w: it has no bytes", ErrShort)
	}
	r := reader{rest: b[1:]}
	m := r.message(Type(b[0]), b)
	if r.err != nil {
		return nil, fmt.Errorf("parse desktop message of type %d (%d bytes): %w", b[0], len(b), r.err)
	}
	return m, nil
}

func (r *reader) message(t Type, whole []byte) Message {
	switch t {
	case TypeScreenSize:
		return ScreenSize{Width: r.side(), Height: r.side()}
	case TypeFrame:
		return Frame{Rect: r.rect(), PNG: r.rest, Old: true}
	case TypeFrame2:
		n := r.uint32()
		rect := r.rect()
		return Frame{Rect: rect, PNG: r.bytes(n)}
	case TypeMouseMove:
		return MouseMove{X: r.side(), Y: r.side()}
	case TypeButton:
		b := r.bytes(2)
		if r.err != nil {
			return nil
		}
		return Button{Button: b[0], Down: b[1] != 0}
	case TypeClipboard:
		return Clipboard{Data: r.bytes(r.uint32())}
	case TypeError, TypeAlert:
		text := strings.ToValidUTF8(string(r.bytes(r.uint32())), "\uFFFD")
		return Text{Alert: t == TypeAlert, Text: text}
	case TypeFastPath:
		return FastPath{Data: r.bytes(r.uint32())}
	case TypeActivated:
		return Activated{IOChannel: r.uint16(), UserChannel: r.uint16(), Width: int(r.uint16()), Height: int(r.uint16())}
	}
	return Unknown{Data: whole}
}

// A reader takes a message apart from the front. After its first error it gives
// zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) bytes(n uint32) []byte {
	if r.err == nil && uint64(n) > uint64(len(r.rest)) {
		r.err = fmt.Errorf("%w: %d bytes of %d are there", ErrShort, len(r.rest), n)
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) side() int {
	v := r.uint32()
	if r.err == nil && v > MaxSide {
		r.err = fmt.Errorf("%w: %d, %d at most", ErrSize, v, MaxSide)
	}
	if r.err != nil {
		return 0
	}
	return int(v)
}

func (r *reader) rect() image.Rectangle {
	left, top, right, bottom := r.side(), r.side(), r.side(), r.side()
	if r.err == nil && (right < left || bottom < top) {
		r.err = fmt.Errorf("%w: a rectangle from %d,%d to %d,%d", ErrSize, left, top, right, bottom)
	}
	return image.Rectangle{Min: image.Point{X: left, Y: top}, Max: image.Point{X: right, Y: bottom}}
}
