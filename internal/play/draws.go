package play

import (
	"slices"
	"strings"
)

// drawsC0 says which controls are let through.
func drawsC0(c byte) bool { return c >= 0x08 && c <= 0x0f } // BS HT LF VT FF CR SO SI

// drawsEsc says which escape sequences are let through: ESC, the intermediate
// bytes and the final byte.
func drawsEsc(inter []byte, final byte) bool {
	switch string(inter) {
	case "":
		// Save and restore the cursor, index, next line, set a tab stop, reverse
		// index, single and locking shifts, move a column back or forward.
		return strings.IndexByte("78DEHMNO69no|}~", final) >= 0
	case "#":
		return strings.IndexByte("34568", final) >= 0 // double size, a screen of E
	case "(", ")", "*", "+", "-", ".", "/":
		// A character set. Of the final bytes only those of sets that exist: there are
		// parsers that see the beginning of a string in ESC ( X.
		return strings.IndexByte("012456789<=>ABCEHKQRYZ`f", final) >= 0
	}
	return false
}

// drawsCSI says whether a control sequence is let through, and with which
// arguments: of a list of modes only those that draw stay.
func drawsCSI(args string, final byte) (string, bool) {
	prefix, params, inter, ok := splitArgs(args)
	if !ok {
		return "", false
	}
	switch prefix + inter + string(final) {
	case "h", "l":
		return keep(prefix, params, ansiModes[:])
	case "?h", "?l", "?r", "?s": // set, reset, restore, save
		return keep(prefix, params, privateModes[:])
	case "J", "?J":
		return args, strings.Contains("012", params) && len(params) < 2 // 3: the viewer's scrollback
	case "?W":
		return args, params == "5" // a tab stop every eight columns
	case "T":
		return args, !strings.Contains(params, ";") // with five arguments: mouse tracking
	case "@", "A", "B", "C", "D", "E", "F", "G", "H", "I", "K", "L", "M", "P", "S", "X", "Z",
		"`", "a", "b", "d", "e", "f", "g", "j", "k", "m", "r", "s", "u",
		"?K", " @", " A", " q", "!p", "'}", "'~", "\"q", "*x",
		"$r", "$t", "$v", "$x", "$z", "${", "#{", "#}":
		return args, true
	}
	return "", false
}

// The modes that draw: insertion and line feed; reversed screen, origin,
// wrapping, blinking cursor, visible cursor, wrapping back, the alternate
// screens, left and right margins, synchronized output, grapheme clusters.
var (
	ansiModes    = [...]string{"4", "20"}
	privateModes = [...]string{"5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049", "2026", "2027"}
)

// splitArgs takes apart what stands between CSI and the final byte. It returns
// false for what is malformed, and for a number of more than five digits, with
// which some terminals can be kept busy.
func splitArgs(args string) (prefix, params, inter string, ok bool) {
	if args != "" && args[0] >= '<' {
		prefix, args = args[:1], args[1:]
	}
	n := 0
	for n < len(args) && args[n] >= '0' && args[n] <= ';' {
		n++
	}
	params, inter = args[:n], args[n:]
	if strings.ContainsFunc(inter, func(r rune) bool { return r >= '0' }) {
		return "", "", "", false
	}
	for p := range strings.FieldsFuncSeq(params, func(r rune) bool { return r == ';' || r == ':' }) {
		if len(p) > 5 {
			return "", "", "", false
		}
	}
	return prefix, params, inter, true
}

// keep drops the modes that are not in the list.
func keep(prefix, params string, list []string) (string, bool) {
	var kept []string
	for p := range strings.SplitSeq(params, ";") {
		if p = strings.TrimLeft(p, "0"); slices.Contains(list, p) {
			kept = append(kept, p)
		}
	}
	return prefix + strings.Join(kept, ";"), len(kept) > 0
}
