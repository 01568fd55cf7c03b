package play

import (
	"slices"
	"strings"
)

// state is what output has set on a terminal besides what it shows: enough to
// set it again on another screen, and to put everything back. Content and
// cursor position are not known.
type state struct {
	alt     string // the mode that entered the alternate screen; "" on the main one
	pen     pen
	saved   *pen // of the main screen, while ?1049 is on
	modes   [nModes]tristate
	margins string // arguments of DECSTBM and DECSLRM; "" for the whole screen
	sides   string
	style   string // arguments of DECSCUSR

	// opaque says that something was done which cannot be set again from here:
	// a saved cursor, tab stops. It ends with a full reset.
	opaque bool
}

type tristate uint8 // 0 never touched, 1 off, 2 on

// The modes that are remembered, in order of how they are set again: origin
// moves the cursor and comes first.
var rememberedModes = [...]struct {
	args    string // with "?" for a private one
	initial tristate
}{
	{"?6", 1}, {"?69", 0}, {"4", 1}, {"20", 1}, {"?5", 1}, {"?7", 2}, {"?12", 0}, {"?25", 2}, {"?45", 0}, {"?2027", 0}, {"?2026", 0},
}

const (
	nModes   = len(rememberedModes)
	modeSync = nModes - 1
	modeHome = 0 // origin
)

func (s *state) control(c byte) {
	switch c {
	case 0x0e, 0x0f:
		s.pen.shift = string(rune(c))
	}
}

func (s *state) escape(inter []byte, final byte) {
	switch string(inter) {
	case "":
		switch final {
		case '7', '8', 'H':
			s.opaque = true
		case 'n', 'o', '|', '}', '~':
			s.pen.shift = "\x1b" + string(rune(final))
		}
	case "(", ")", "*", "+":
		s.pen.sets[inter[0]-'('] = "\x1b" + string(inter) + string(rune(final))
	case "-", ".", "/":
		s.pen.sets[inter[0]-','] = "\x1b" + string(inter) + string(rune(final))
	}
}

func (s *state) sequence(args string, final byte) {
	prefix, params, inter, _ := splitArgs(args)
	switch prefix + inter + string(final) {
	case "m":
		s.pen.sgr(params)
	case "r":
		s.margins = params
	case "s":
		if s.sides = params; params == "" {
			s.opaque = true // saves the cursor
		}
	case "u", "g", "#{", "#}", "\"q", "?r", "?s":
		s.opaque = true
	case " q":
		s.style = args
	case "!p":
		s.pen, s.margins, s.sides = pen{}, "", ""
		s.setMode("?6", 1)
		s.setMode("4", 1)
		s.setMode("?25", 2)
	case "h", "l", "?h", "?l":
		on := tristate(1)
		if final == 'h' {
			on = 2
		}
		for p := range strings.SplitSeq(params, ";") {
			s.setMode(prefix+p, on)
		}
	}
}

func (s *state) setMode(args string, on tristate) {
	switch args {
	case "?47", "?1047", "?1049":
		s.screen(args, on)
	case "?1048":
		s.opaque = true
	}
	for i, m := range rememberedModes {
		if m.args == args {
			s.modes[i] = on
		}
	}
}

// screen changes to the alternate screen or back.
func (s *state) screen(args string, on tristate) {
	switch {
	case on == 2 && s.alt == "":
		s.alt = args
		if args == "?1049" {
			p := s.pen
			s.saved = &p
		}
	case on == 1 && s.alt != "":
		s.alt = ""
		if args == "?1049" && s.saved != nil {
			s.pen = *s.saved
		}
		s.saved = nil
	case on == 1 && args == "?1049": // restores a cursor that was never saved
		s.opaque = true
	}
}

// fullReset takes a full reset in and returns what it draws.
func (s *state) fullReset() []byte {
	b := s.appendDefaults(nil)
	*s = state{}
	return append(b, clearScreen...)
}

const clearScreen = "\x1b[H\x1b[2J"

// appendDefaults appends what makes a terminal in this state one in its first:
// on the main screen, without margins, modes and colours. Where the cursor is
// then is not said.
func (s *state) appendDefaults(dst []byte) []byte {
	sync := s.modes[modeSync]
	s.modes[modeSync] = 0
	if s.alt != "" {
		dst = append(dst, "\x1b["+s.alt+"l"...)
	}
	blank := state{modes: s.modes}
	for i, m := range rememberedModes {
		if s.modes[i] != 0 {
			blank.modes[i] = max(m.initial, 1)
		}
	}
	dst = blank.appendSetup(dst)
	if s.style != "" {
		dst = append(dst, "\x1b[0 q"...)
	}
	if s.opaque {
		dst = append(dst, "\x1b[?5W"...) // tab stops
	}
	if s.modes[modeSync] = sync; sync != 0 {
		dst = append(dst, "\x1b[?2026l"...)
	}
	return dst
}

// appendSetup appends what makes a terminal in any state one in this state, but
// for the alternate screen and synchronized output. It may move the cursor.
func (s *state) appendSetup(dst []byte) []byte {
	for i, m := range rememberedModes {
		on := s.modes[i]
		if on == 0 {
			on = m.initial
		}
		if i == modeSync || on == 0 {
			continue
		}
		dst = append(dst, "\x1b["+m.args...)
		dst = append(dst, "?lh"[on])
	}
	dst = append(dst, "\x1b["+s.margins+"r"...)
	if s.sides != "" {
		dst = append(dst, "\x1b["+s.sides+"s"...)
	}
	if s.style != "" {
		dst = append(dst, "\x1b["+s.style+"q"...)
	}
	return s.pen.append(dst)
}

// appendRestore appends what leaves the terminal as a shell wants it, with the
// cursor where it is if that can be.
func (s *state) appendRestore(dst []byte) []byte {
	t := *s
	moves := t.margins != "" || t.sides != "" || t.modes[modeHome] == 2
	if t.alt != "" {
		dst = append(dst, "\x1b["+t.alt+"l"...)
		t.alt = ""
	}
	if !moves {
		return t.appendQuiet(dst)
	}
	if t.modes[modeHome] == 2 { // its reset moves the cursor, and saving would keep it
		dst = t.appendDefaults(dst)
		return append(dst, "\x1b[999;1H"...)
	}
	dst = append(dst, "\x1b7\x1b[r"...)
	if t.sides != "" {
		dst = append(dst, "\x1b[?69l"...)
	}
	dst = append(dst, "\x1b8"...)
	t.margins, t.sides = "", ""
	return t.appendQuiet(dst)
}

// appendQuiet puts back what can be put back without moving the cursor.
func (s *state) appendQuiet(dst []byte) []byte {
	for i, m := range rememberedModes {
		if s.modes[i] == 0 || m.args == "?6" || m.args == "?69" {
			continue
		}
		dst = append(dst, "\x1b["+m.args...)
		dst = append(dst, "?lh"[max(m.initial, 1)])
	}
	dst = append(dst, "\x1b[m\x1b(B\x0f"...)
	if slices.ContainsFunc(s.pen.sets[1:], func(set string) bool { return set != "" }) {
		dst = append(dst, "\x1b)B\x1b*B\x1b+B"...)
	}
	if s.style != "" {
		dst = append(dst, "\x1b[0 q"...)
	}
	return dst
}
