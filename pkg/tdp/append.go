package tdp

import (
	"encoding/binary"
	"image"
)

// Type is TypeScreenSize.
func (ScreenSize) Type() Type { return TypeScreenSize }

// Append implements [Message].
func (m ScreenSize) Append(dst []byte) []byte {
	return appendInts(append(dst, byte(TypeScreenSize)), m.Width, m.Height)
}

// Type is TypeFrame if the frame is old, else TypeFrame2.
func (m Frame) Type() Type {
	if m.Old {
		return TypeFrame
	}
	return TypeFrame2
}

// Append implements [Message].
func (m Frame) Append(dst []byte) []byte {
	dst = append(dst, byte(m.Type()))
	if !m.Old {
		dst = appendInts(dst, len(m.PNG))
	}
	return append(appendRect(dst, m.Rect), m.PNG...)
}

// FrameOverhead is how many bytes a Frame that is not old has beside its PNG.
const FrameOverhead = 1 + 4 + 16

// Type is TypeMouseMove.
func (MouseMove) Type() Type { return TypeMouseMove }

// Append implements [Message].
func (m MouseMove) Append(dst []byte) []byte {
	return appendInts(append(dst, byte(TypeMouseMove)), m.X, m.Y)
}

// Type is TypeButton.
func (Button) Type() Type { return TypeButton }

// Append implements [Message].
func (m Button) Append(dst []byte) []byte {
	down := byte(0)
	if m.Down {
		down = 1
	}
	return append(dst, byte(TypeButton), m.Button, down)
}

// Type is TypeClipboard.
func (Clipboard) Type() Type { return TypeClipboard }

// Append implements [Message].
func (m Clipboard) Append(dst []byte) []byte {
	return appendBytes(append(dst, byte(TypeClipboard)), m.Data)
}

// Type is TypeAlert or TypeError.
func (m Text) Type() Type {
	if m.Alert {
		return TypeAlert
	}
	return TypeError
}

// Append implements [Message].
func (m Text) Append(dst []byte) []byte {
	dst = appendBytes(append(dst, byte(m.Type())), []byte(m.Text))
	if m.Alert {
		dst = append(dst, 0) // how severe it is: not said
	}
	return dst
}

// Type is TypeFastPath.
func (FastPath) Type() Type { return TypeFastPath }

// Append implements [Message].
func (m FastPath) Append(dst []byte) []byte {
	return appendBytes(append(dst, byte(TypeFastPath)), m.Data)
}

// Type is TypeActivated.
func (Activated) Type() Type { return TypeActivated }

// Append implements [Message].
func (m Activated) Append(dst []byte) []byte {
	dst = append(dst, byte(TypeActivated))
	for _, v := range []uint16{m.IOChannel, m.UserChannel, uint16(m.Width), uint16(m.Height)} {
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	return dst
}

// Type is the first byte.
func (m Unknown) Type() Type {
	if len(m.Data) == 0 {
		return 0
	}
	return Type(m.Data[0])
}

// Append implements [Message].
func (m Unknown) Append(dst []byte) []byte { return append(dst, m.Data...) }

func appendInts(dst []byte, values ...int) []byte {
	for _, v := range values {
		dst = binary.BigEndian.AppendUint32(dst, uint32(v))
	}
	return dst
}

func appendRect(dst []byte, r image.Rectangle) []byte {
	return appendInts(dst, r.Min.X, r.Min.Y, r.Max.X, r.Max.Y)
}

func appendBytes(dst, b []byte) []byte { return append(appendInts(dst, len(b)), b...) }
