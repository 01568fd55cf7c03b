// Package tdp reads and writes the desktop messages that DesktopRecording events
// carry: one message an event, its kind in the first byte, integers big-endian.
//
// The kinds that make up a picture or belong to it are types here; every other
// kind is an [Unknown], kept byte for byte, so that a newer producer's messages
// pass through. [Parse] looks at what a message says before it believes it: its
// slices alias the input, it allocates nothing for sizes it reads, and no side of
// a screen or rectangle is over [MaxSide].
//
// # Compatibility
//
// The layouts are those of recordings in the field and will stay. Bytes after
// a message's own are passed over: some kinds have grown at the end.
package tdp

import (
	"errors"
	"image"
)

// A Type is the first byte of a message.
type Type byte

// The kinds of messages that are known here.
const (
	TypeScreenSize Type = 1
	TypeFrame      Type = 2
	TypeMouseMove  Type = 3
	TypeButton     Type = 4
	TypeClipboard  Type = 6
	TypeError      Type = 9
	TypeFrame2     Type = 27
	TypeAlert      Type = 28
	TypeFastPath   Type = 29
	TypeActivated  Type = 31
)

const (
	// MaxMessage is the most bytes that a message can have and still fit into an
	// event of 65,536 bytes, with room for the event's other fields.
	MaxMessage = 65_000
	// MaxSide is the most pixels of a screen's or rectangle's width or height, and
	// the highest coordinate.
	MaxSide = 16_384
)

// Errors that a caller can test for.
var (
	// ErrShort is a message that ends before what its kind or lengths ask for.
	ErrShort = errors.New("message is cut short")
	// ErrSize is a side or coordinate over MaxSide, or a rectangle that ends
	// before it begins.
	ErrSize = errors.New("size or coordinate out of range")
)

// A Message is one of the types below.
type Message interface {
	// Type is the kind of the message.
	Type() Type
	// Append appends the message's bytes to dst. It checks nothing.
	Append(dst []byte) []byte
}

// ScreenSize is the size of the client's screen. In the middle of a session it
// makes the canvas another one.
type ScreenSize struct{ Width, Height int }

// A Frame is a picture that is drawn at the upper left corner of Rect. Rect's
// right and lower edges are the first pixels beyond it.
type Frame struct {
	Rect image.Rectangle
	PNG  []byte
	// Old says that the message is of the older kind (2), whose PNG has no length.
	Old bool
}

// MouseMove is where the pointer is from now on.
type MouseMove struct{ X, Y int }

// Button is a mouse button that goes down or up: 0 left, 1 middle, 2 right.
type Button struct {
	Button byte
	Down   bool
}

// Clipboard is what was copied or pasted.
type Clipboard struct{ Data []byte }

// Text is a message for the viewer: an error ([TypeError]) or an alert
// ([TypeAlert]).
type Text struct {
	Alert bool
	Text  string
}

// FastPath is a frame of the remote desktop protocol itself, which only a decoder
// of that protocol can draw.
type FastPath struct{ Data []byte }

// Activated says that the remote desktop is there, and its size.
type Activated struct {
	IOChannel, UserChannel uint16
	Width, Height          int
}

// Unknown is a message of any other kind, its first byte included.
type Unknown struct{ Data []byte }
