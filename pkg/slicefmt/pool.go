package slicefmt

import (
	"bytes"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/flate"
)

// level is the compression level of blocks. On recordings of real programs,
// in blocks of 64 KiB, level 1 of klauspost/compress makes smaller parts than
// one stdlib gzip writer of level 1 over the whole session does, at about twice
// its speed; levels 2 and 3 gain under one percent for 5 and 35 percent of the
// speed, and the stateless compressor loses three.
const level = 1

// minBuffer is the smallest buffer. Sizes go up by about 1.4 each, so that a
// slice with little in it holds little more than that.
const (
	minBuffer     = 512
	bufferClasses = 40 // the last is 256 MiB and more than any part
)

// A buffer is a byte slice on loan from a pool of its capacity.
type buffer struct {
	b     []byte
	class int
}

var buffers [bufferClasses]sync.Pool

// classSize is 512, 768, 1024, 1536, ...
func classSize(class int) int {
	size := minBuffer << (class / 2)
	if class%2 == 1 {
		size += size / 2
	}
	return size
}

// classFor is the smallest class that has room for n bytes.
func classFor(n int) int {
	if n <= minBuffer {
		return 0
	}
	k := bits.Len(uint((n - 1) / minBuffer)) // minBuffer<<(k-1) < n <= minBuffer<<k
	if class := 2*k - 1; n <= classSize(class) {
		return class
	}
	return 2 * k
}

// newBuffer lends an empty buffer with room for n bytes. One that is too large
// for any class is made to measure and not pooled.
func newBuffer(n int) *buffer {
	class := classFor(n)
	if class >= bufferClasses {
		return &buffer{b: make([]byte, 0, n), class: class}
	}
	if b, ok := buffers[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, classSize(class)), class: class}
}

// grow returns a buffer with b's bytes and room for n more, b itself if it has
// it. b may be nil.
func (b *buffer) grow(n int) *buffer {
	if b == nil {
		return newBuffer(n)
	}
	if cap(b.b)-len(b.b) >= n {
		return b
	}
	larger := newBuffer(len(b.b) + n)
	larger.b = append(larger.b, b.b...)
	b.free()
	return larger
}

// free gives b back. b may be nil.
func (b *buffer) free() {
	if b == nil || b.class >= bufferClasses {
		return
	}
	b.b = b.b[:0]
	buffers[b.class].Put(b)
}

func (b *buffer) bytes() []byte {
	if b == nil {
		return nil
	}
	return b.b
}

func (b *buffer) capacity() int {
	if b == nil {
		return 0
	}
	return cap(b.b)
}

// A compressor is a flate.Writer and what it writes to: about 1.3 MB, held for
// the time of one block.
type compressor struct {
	w   *flate.Writer
	out *buffer
}

var compressors = sync.Pool{New: func() any {
	c := new(compressor)
	w, err := flate.NewWriter(c, level)
	if err != nil {
		panic(err) // the level is a constant
	}
	c.w = w
	return c
}}

// Write gathers what the flate.Writer puts out.
func (c *compressor) Write(p []byte) (int, error) {
	c.out = c.out.grow(len(p))
	c.out.b = append(c.out.b, p...)
	return len(p), nil
}

// compress appends raw, compressed on its own, to out and returns the buffer
// that has it. The result ends with a sync flush, or, if it is the last, with
// DEFLATE's end. Writing to memory cannot fail.
func compress(out *buffer, raw []byte, last bool) *buffer {
	c := compressors.Get().(*compressor)
	c.out = out
	c.w.Reset(c)
	_, err := c.w.Write(raw)
	if err == nil && last {
		err = c.w.Close()
	} else if err == nil {
		err = c.w.Flush()
	}
	if err != nil {
		panic(fmt.Sprintf("compress %d bytes to memory: %v", len(raw), err))
	}
	out, c.out = c.out, nil
	compressors.Put(c)
	return out
}

// compressBound is the most bytes that compress makes of n: all of it stored,
// in blocks of 64 KiB less one with five bytes before each, and the flush.
func compressBound(n int64) int64 {
	if n == 0 {
		return 0
	}
	return n + 5*(n/65535+1) + 8
}

// CompressTail appends tail to dst as one raw DEFLATE stream, for a checkpoint.
func CompressTail(dst, tail []byte) []byte {
	out := compress(nil, tail, true)
	dst = append(dst, out.b...)
	out.free()
	return dst
}

// An expander is a flate reader and what it reads from, pooled together.
type expander struct {
	src bytes.Reader
	r   io.ReadCloser
}

var expanders = sync.Pool{New: func() any {
	e := new(expander)
	e.r = flate.NewReader(&e.src)
	return e
}}

// ExpandTail undoes CompressTail. Bytes that are no such stream, or that make
// more than limit, are an error that wraps ErrCorrupt; no more than limit bytes
// and a little are ever held.
func ExpandTail(b []byte, limit int) ([]byte, error) {
	e := expanders.Get().(*expander)
	defer expanders.Put(e)
	e.src.Reset(b)
	defer e.src.Reset(nil)
	if err := e.r.(flate.Resetter).Reset(&e.src, nil); err != nil {
		return nil, fmt.Errorf("expand %d bytes: %w: %w", len(b), ErrCorrupt, err)
	}
	tail, err := io.ReadAll(io.LimitReader(e.r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("expand %d bytes: %w: %w", len(b), ErrCorrupt, err)
	}
	if len(tail) > limit {
		return nil, fmt.Errorf("expand %d bytes to more than %d: %w", len(b), limit, ErrCorrupt)
	}
	if e.src.Len() > 0 {
		return nil, fmt.Errorf("expand %d bytes: %w: %d bytes after the end", len(b), ErrCorrupt, e.src.Len())
	}
	return tail, nil
}
