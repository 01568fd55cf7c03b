package events

// scanPlain is Scan for what most records are: a print or a desktop frame as any
// encoder writes it, each field once and in order. Whatever looks otherwise in any
// way, or has text that is not ASCII, is not ok and left to the careful scan, which
// is several times slower and the only one that finds anything wrong.
func scanPlain(b []byte) (h Header, ok bool) {
	var delay byte
	var i int
	switch {
	case len(b) > 1 && b[0] == casePrint<<3|2:
		h.Case, delay, i = casePrint, 5, 1
	case len(b) > 2 && b[0] == caseDesktop<<3&0x7f|2|0x80 && b[1] == caseDesktop>>4:
		h.Case, delay, i = caseDesktop, 3, 2
	default:
		return h, false
	}
	size, i := plainVarint(b, i)
	if i < 0 || size != uint64(len(b)-i) {
		return h, false
	}
	h.HasDelay, h.Seconds = true, yearOne
	for last := byte(0); i < len(b); {
		tag := b[i]
		num := tag >> 3
		if tag >= 0x80 || num <= last {
			return h, false
		}
		last = num
		var v uint64
		if v, i = plainVarint(b, i+1); i < 0 {
			return h, false
		}
		switch tag & 7 {
		case 0:
			if num == delay {
				h.Delay = int64(v)
			}
		case 2:
			if v > uint64(len(b)-i) {
				return h, false
			}
			end := i + int(v)
			if num == fieldMetadata && !h.plainMetadata(b[i:end]) {
				return h, false
			}
			i = end // the other fields of these two are bytes, which may be any
		default:
			return h, false
		}
	}
	return h, true
}

// Events that come by the million.
const (
	casePrint   = 7
	caseDesktop = 69
)

// fieldCluster is the last field of Metadata.
const fieldCluster = 6

func (h *Header) plainMetadata(b []byte) bool {
	last := byte(0)
	for i := 0; i < len(b); {
		tag := b[i]
		num := tag >> 3
		if num <= last || num > fieldCluster { // a tag of two bytes has a larger number
			return false
		}
		last = num
		var v uint64
		if v, i = plainVarint(b, i+1); i < 0 {
			return false
		}
		switch {
		case tag == fieldIndex<<3:
			h.Index = int64(v)
			continue
		case tag&7 != 2 || num == fieldIndex || v > uint64(len(b)-i):
			return false
		}
		text := b[i : i+int(v)]
		i += int(v)
		switch {
		case num == fieldTime:
			if !h.plainTime(text) {
				return false
			}
			continue
		case !ascii(text):
			return false
		case num == fieldType:
			h.Type = text
		}
	}
	return true
}

func (h *Header) plainTime(b []byte) bool {
	h.Seconds = 0
	for last, i := byte(0), 0; i < len(b); {
		tag := b[i]
		if tag <= last {
			return false
		}
		last = tag
		var v uint64
		if v, i = plainVarint(b, i+1); i < 0 {
			return false
		}
		switch tag {
		case fieldSeconds << 3:
			h.Seconds = int64(v)
		case fieldNanos << 3:
			h.Nanos = int32(v)
		default:
			return false
		}
	}
	return true
}

// plainVarint reads the number at b[i:] and says where it ends: -1 if it does not,
// or is none.
func plainVarint(b []byte, i int) (uint64, int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	v := uint64(0)
	for shift := 0; shift < 64 && i < len(b); shift += 7 {
		c := b[i]
		i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if shift == 63 && c > 1 {
				break // more than 64 bits
			}
			return v, i
		}
	}
	return 0, -1
}

func ascii(b []byte) bool {
	or := byte(0)
	for _, c := range b {
		or |= c
	}
	return or < 0x80
}
