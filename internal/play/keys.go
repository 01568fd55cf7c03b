package play

import "io"

// keyParser turns what a keyboard sends into keys. Sequences may be split
// anywhere; what is no key of ours is passed over.
type keyParser struct{ seq int } // 1 behind ESC, 2 behind ESC [ or ESC O

func (k *keyParser) next(c byte) (Key, bool) {
	seq := k.seq
	k.seq = 0
	switch {
	case c == 0x1b:
		k.seq = 1
		return 0, false
	case seq == 1 && (c == '[' || c == 'O'):
		k.seq = 2
		return 0, false
	case seq == 2 && c == 'C':
		return KeyForward, true
	case seq == 2 && c == 'D':
		return KeyBack, true
	case seq == 2:
		if c < 0x40 { // arguments, as with a modifier
			k.seq = 2
		}
		return 0, false
	}
	switch c {
	case ' ':
		return KeyPause, true
	case '.':
		return KeyStep, true
	case '+', '=':
		return KeyFaster, true
	case '-', '_':
		return KeySlower, true
	case 'q', 'Q', 0x03:
		return KeyQuit, true
	}
	return 0, false
}

// readKeys sends keys until r ends or done is closed, and closes keys.
func readKeys(r io.Reader, keys chan<- Key, done <-chan struct{}) {
	defer close(keys)
	var k keyParser
	buf := make([]byte, 64)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			key, ok := k.next(c)
			if !ok {
				continue
			}
			select {
			case keys <- key:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
