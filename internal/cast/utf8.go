package cast

import "unicode/utf8"

// A Carry makes a stream of byte chunks into a stream of chunks of whole UTF-8
// sequences: the unfinished sequence at the end of a chunk waits for the next.
// The zero value is ready. It holds 3 bytes at most.
type Carry struct {
	held     [utf8.UTFMax]byte
	n        int
	replaced int64
}

// Next appends to dst what is whole of the held bytes and b, and returns it.
// A byte that can be no part of a UTF-8 sequence is appended as U+FFFD and
// counted. Next does not keep b.
func (c *Carry) Next(dst, b []byte) []byte {
	for c.n > 0 && len(b) > 0 {
		if c.n < len(c.held) && !utf8.FullRune(c.held[:c.n]) {
			c.held[c.n] = b[0]
			c.n++
			b = b[1:]
			if !utf8.FullRune(c.held[:c.n]) {
				continue
			}
		}
		r, size := utf8.DecodeRune(c.held[:c.n])
		dst = c.append(dst, r, size)
		c.n = copy(c.held[:], c.held[size:c.n])
	}
	for c.n > 0 && utf8.FullRune(c.held[:c.n]) { // what an invalid sequence left
		r, size := utf8.DecodeRune(c.held[:c.n])
		dst = c.append(dst, r, size)
		c.n = copy(c.held[:], c.held[size:c.n])
	}
	return c.take(dst, b)
}

// take appends what is whole of b and holds the rest. Nothing is held before.
func (c *Carry) take(dst, b []byte) []byte {
	if utf8.Valid(b) { // the common case: no byte by byte
		return append(dst, b...)
	}
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			dst = append(dst, b[0])
			b = b[1:]
			continue
		}
		if !utf8.FullRune(b) {
			c.n = copy(c.held[:], b)
			return dst
		}
		r, size := utf8.DecodeRune(b)
		dst = c.append(dst, r, size)
		b = b[size:]
	}
	return dst
}

func (c *Carry) append(dst []byte, r rune, size int) []byte {
	if r == utf8.RuneError && size == 1 {
		c.replaced++
	}
	return utf8.AppendRune(dst, r)
}

// Flush appends the bytes held, each as U+FFFD and counted: no more will come
// to complete them.
func (c *Carry) Flush(dst []byte) []byte {
	for range c.n {
		c.replaced++
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	c.n = 0
	return dst
}

// Held returns how many bytes wait for the rest of their sequence.
func (c *Carry) Held() int { return c.n }

// Replaced returns how many bytes were written as U+FFFD.
func (c *Carry) Replaced() int64 { return c.replaced }
