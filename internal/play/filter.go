package play

import (
	"unicode/utf8"
)

// A Filter lets through what draws on a terminal and drops what asks it for
// something or sets something on it that outlives the drawing. It takes output
// in chunks cut anywhere; how it is cut makes no difference to what comes out.
//
// Let through: text, the controls that move the cursor (BS HT LF VT FF CR) and
// choose a character set (SO SI), and the escape sequences of [drawsEsc] and
// [drawsCSI]: cursor, erase, scroll, insert and delete, margins, colours and
// styles, cursor shape, character sets, the alternate screen, synchronized
// output, and the modes that change how text is laid down.
//
// Dropped: every string (OSC, so titles, clipboard, colours, notifications and
// hyperlinks, whose text stays; DCS, APC, PM, SOS, and with them images), every
// question (device attributes and status, mode and setting requests, window
// reports, checksums, ENQ), mouse, focus, paste and keyboard modes, window
// changes, printing, the bell, erasing the viewer's scrollback, and whatever is
// not known. A full reset becomes the drawing part of one.
//
// The output is valid UTF-8 without C1 controls: a control written as U+0080
// to U+009F is understood, as xterm does, and comes out as its 7-bit form or
// not at all. A byte that is no UTF-8 becomes U+FFFD.
//
// What it holds is bounded: an unfinished sequence of [maxSequence] bytes, and
// of an endless string nothing. The zero value is ready.
type Filter struct {
	mode parseMode
	held [utf8.UTFMax]byte // an unfinished UTF-8 sequence
	n    int
	seq  []byte // an unfinished escape sequence, without its introducer
	bell bool   // BEL ends the string that is being dropped
	term state
}

// maxSequence is the longest escape sequence let through. The longest in use
// are colours of some 40 bytes.
const maxSequence = 256

type parseMode uint8

const (
	ground    parseMode = iota
	escape              // behind ESC
	control             // behind CSI
	ignore              // in a CSI that is dropped
	dropStr             // in a string
	dropStrEs           // behind an ESC in a string
)

// A token is one thing the terminal is told. Its bytes are valid until the
// function that gets it returns.
type token struct {
	kind  tokenKind
	bytes []byte
	final byte   // of an escape or control sequence; the control itself
	args  string // of a control sequence: prefix, parameters, intermediates
}

type tokenKind uint8

const (
	text tokenKind = iota
	c0
	esc
	csi
	reset // a full reset, as its drawing part
)

// Append appends to dst what of src draws, and returns it. What src ends in the
// middle of is held back until the rest comes.
func (f *Filter) Append(dst, src []byte) []byte {
	f.feed(src, func(t token) { dst = append(dst, t.bytes...) })
	return dst
}

// feed gives emit the tokens that draw, after the state has taken them in.
func (f *Filter) feed(src []byte, emit func(token)) {
	for f.n > 0 && len(src) > 0 {
		f.held[f.n] = src[0]
		f.n++
		src = src[1:]
		if utf8.FullRune(f.held[:f.n]) {
			src = f.drainHeld(src, emit)
		}
	}
	for len(src) > 0 {
		src = f.step(src, emit)
	}
}

// drainHeld takes the held bytes once the first of them is decided. What an
// invalid sequence leaves is at most three bytes, and is looked at again.
func (f *Filter) drainHeld(src []byte, emit func(token)) []byte {
	var rest [utf8.UTFMax]byte
	n := copy(rest[:], f.held[:f.n])
	f.n = 0
	for b := rest[:n]; len(b) > 0; {
		b = f.step(b, emit)
	}
	return src
}

// step takes one token's worth from the front of src, which is not empty.
func (f *Filter) step(src []byte, emit func(token)) []byte {
	if f.mode == ground {
		if n := printable(src); n > 0 {
			emit(token{kind: text, bytes: src[:n]})
			return src[n:]
		}
	}
	if src[0] < utf8.RuneSelf {
		f.char(rune(src[0]), emit)
		return src[1:]
	}
	if !utf8.FullRune(src) {
		f.n = copy(f.held[:], src)
		return nil
	}
	r, size := utf8.DecodeRune(src)
	f.char(r, emit)
	return src[size:]
}

// controls are the bytes of the tokens of controls.
var controls = []byte("\x00\x01\x02\x03\x04\x05\x06\x07\b\t\n\v\f\r\x0e\x0f")

// printable returns how many bytes at the front of b are whole characters that
// a terminal shows.
func printable(b []byte) int {
	for i := 0; i < len(b); {
		c := b[i]
		if c >= ' ' && c < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if c < utf8.RuneSelf || r < 0xa0 || r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}

// char advances the machine by one character.
func (f *Filter) char(r rune, emit func(token)) {
	if f.mode == dropStr || f.mode == dropStrEs {
		if f.inString(r) {
			return
		}
	}
	switch {
	case r == 0x1b:
		f.mode, f.seq = escape, f.seq[:0]
	case r == 0x18 || r == 0x1a: // CAN, SUB
		f.mode = ground
	case r < 0x20 || r == 0x7f:
		if drawsC0(byte(r)) {
			emit(token{kind: c0, bytes: controls[r : r+1], final: byte(r)})
			f.term.control(byte(r))
		}
	case r >= 0x80 && r < 0xa0:
		f.mode, f.seq = escape, f.seq[:0]
		f.escapeByte(byte(r-0x40), emit)
	case r >= 0xa0: // text, also where a sequence is broken off by it
		f.mode = ground
		emit(token{kind: text, bytes: utf8.AppendRune(nil, r)})
	case f.mode == escape:
		f.escapeByte(byte(r), emit)
	case f.mode == control || f.mode == ignore:
		f.controlByte(byte(r), emit)
	}
}

// inString takes one character of a string, and returns false if that ended
// the string and is still to be understood.
func (f *Filter) inString(r rune) bool {
	switch {
	case f.mode == dropStrEs && r == '\\', r == 0x9c, r == 0x07 && f.bell:
		f.mode = ground
		return true
	case f.mode == dropStrEs: // an ESC that began something else
		f.mode, f.seq = escape, f.seq[:0]
		return false
	case r == 0x1b:
		f.mode = dropStrEs
		return true
	case r == 0x18 || r == 0x1a || r >= 0x80 && r < 0xa0:
		return false
	}
	return true
}

func (f *Filter) escapeByte(c byte, emit func(token)) {
	if c < 0x30 { // an intermediate byte
		if len(f.seq) < maxSequence {
			f.seq = append(f.seq, c)
		}
		return
	}
	f.mode = ground
	if len(f.seq) == 0 {
		switch c {
		case '[':
			f.mode = control
			return
		case ']':
			f.mode, f.bell = dropStr, true
			return
		case 'P', 'X', '^', '_', 'k': // k: a title, as screen and tmux have it
			f.mode, f.bell = dropStr, false
			return
		case 'c':
			emit(token{kind: reset, bytes: f.term.fullReset(), final: c})
			return
		}
	}
	if drawsEsc(f.seq, c) {
		f.term.escape(f.seq, c)
		emit(token{kind: esc, bytes: append(append([]byte{0x1b}, f.seq...), c), final: c, args: string(f.seq)})
	}
}

func (f *Filter) controlByte(c byte, emit func(token)) {
	switch {
	case c < 0x40:
		f.seq = append(f.seq, c)
		if len(f.seq) > maxSequence {
			f.mode, f.seq = ignore, f.seq[:0]
		}
	case f.mode == ignore:
		f.mode = ground
	default:
		f.mode = ground
		if args, ok := drawsCSI(string(f.seq), c); ok {
			f.term.sequence(args, c)
			emit(token{kind: csi, bytes: []byte("\x1b[" + args + string(rune(c))), final: c, args: args})
		}
	}
}
