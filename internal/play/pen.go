package play

import (
	"strconv"
	"strings"
)

// pen is how characters are drawn. Saving the cursor saves it too.
type pen struct {
	slots [nSlots]string // the SGR parameter that is in force; "" for none
	sets  [4]string      // what chose the character sets G0 to G3
	shift string         // what chose one of them
}

const (
	slotBold = iota
	slotFaint
	slotItalic
	slotUnderline
	slotBlink
	slotInverse
	slotHidden
	slotStruck
	slotFore
	slotBack
	slotLine // the underline's colour
	slotOver
	slotFrame
	slotRaised
	nSlots
)

// sgr takes the parameters of one SGR sequence. Those that nobody knows are
// passed over, and forgotten by the next.
func (p *pen) sgr(params string) {
	fields := strings.Split(params, ";")
	for i := 0; i < len(fields); i++ {
		n := 1
		if i+1 < len(fields) && (fields[i] == "38" || fields[i] == "48" || fields[i] == "58") {
			switch fields[i+1] {
			case "5":
				n = 3
			case "2":
				n = 5
			}
		}
		n = min(n, len(fields)-i)
		p.attribute(fields[i], strings.Join(fields[i:i+n], ";"))
		i += n - 1
	}
}

// attribute puts one parameter, with what belongs to it, in its slot.
func (p *pen) attribute(name, whole string) {
	name, sub, _ := strings.Cut(name, ":")
	n, err := strconv.Atoi(name)
	if err != nil {
		n = 0 // absent, which is 0
	}
	if n == 4 && sub == "0" {
		n = 24
	}
	switch {
	case n == 0:
		p.slots = [nSlots]string{}
	case n <= 4:
		p.slots[n-1] = whole
	case n == 5 || n == 6:
		p.slots[slotBlink] = whole
	case n <= 9:
		p.slots[slotInverse+n-7] = whole
	case n == 21:
		p.slots[slotUnderline] = whole
	case n == 22:
		p.slots[slotBold], p.slots[slotFaint] = "", ""
	case n == 23 || n == 24:
		p.slots[slotItalic+n-23] = ""
	case n == 25:
		p.slots[slotBlink] = ""
	case n >= 27 && n <= 29:
		p.slots[slotInverse+n-27] = ""
	case n >= 30 && n <= 38 || n >= 90 && n <= 97:
		p.slots[slotFore] = whole
	case n >= 40 && n <= 48 || n >= 100 && n <= 107:
		p.slots[slotBack] = whole
	default:
		p.rarer(n, whole)
	}
}

func (p *pen) rarer(n int, whole string) {
	switch n {
	case 39:
		p.slots[slotFore] = ""
	case 49:
		p.slots[slotBack] = ""
	case 51, 52:
		p.slots[slotFrame] = whole
	case 53:
		p.slots[slotOver] = whole
	case 54:
		p.slots[slotFrame] = ""
	case 55:
		p.slots[slotOver] = ""
	case 58:
		p.slots[slotLine] = whole
	case 59:
		p.slots[slotLine] = ""
	case 73, 74:
		p.slots[slotRaised] = whole
	case 75:
		p.slots[slotRaised] = ""
	}
}

// append appends what chooses this pen, whatever was chosen before.
func (p *pen) append(dst []byte) []byte {
	dst = append(dst, "\x1b[m"...)
	for _, s := range p.slots {
		if s != "" {
			dst = append(dst, "\x1b["+s+"m"...)
		}
	}
	for i, set := range p.sets {
		if set == "" && i < 2 {
			set = "\x1b" + string("()"[i]) + "B"
		}
		dst = append(dst, set...)
	}
	if p.shift == "" {
		return append(dst, 0x0f)
	}
	return append(dst, p.shift...)
}
