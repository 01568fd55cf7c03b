package slicefmt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// isEOF says whether a reader has come to its end. It says so with io.EOF itself:
// an error around it, such as that of a connection that was closed, is no end.
func isEOF(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// A bodyReader is the gzip member in the body of one part. It takes no byte from
// the input that is beyond the body.
type bodyReader struct {
	src   io.Reader
	left  int64 // bytes of the body that have not been taken from src
	ended bool  // src ended before the body did
	err   error // what else src returned

	zip *gunzip
}

// gunzip is what expands a body, pooled: a buffer and the windows of DEFLATE.
type gunzip struct {
	gzip.Reader
	in *bufio.Reader
}

var gunzips = sync.Pool{New: func() any {
	return &gunzip{in: bufio.NewReaderSize(nil, 32<<10)}
}}

func newBodyReader(src io.Reader, size int64) *bodyReader {
	b := &bodyReader{src: src, left: size, zip: gunzips.Get().(*gunzip)}
	b.zip.in.Reset(b)
	return b
}

// Read is what the buffer fills itself from: the body and no byte more. It keeps
// why the input gave no more, which gzip's errors would not say.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if b.ended || b.err != nil {
		return 0, io.EOF
	}
	n, err := b.src.Read(p)
	b.left -= int64(n)
	if isEOF(err) {
		b.ended = true
	} else {
		b.err = err
	}
	if err != nil && n > 0 {
		return n, nil
	}
	return n, err
}

// start reads the member's header.
func (b *bodyReader) start() error {
	err := b.zip.Reset(b.zip.in)
	if err == nil {
		b.zip.Multistream(false)
		return nil
	}
	return b.explain(err)
}

// explain tells why the member could not be read on: the input ended or could
// not be read, or its bytes are bad.
func (b *bodyReader) explain(err error) error {
	switch {
	case b.ended && b.left > 0:
		return fmt.Errorf("%w: %d bytes of the body are missing", ErrTruncated, b.left)
	case b.err != nil:
		return fmt.Errorf("read body: %w", b.err)
	case isEOF(err) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the body ends inside its records", ErrCorrupt)
	case errors.Is(err, io.ErrNoProgress):
		return fmt.Errorf("read body: %w", err)
	default:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
}

// unread is how many bytes of the body were not part of the member: what is in
// the buffer and what was never taken.
func (b *bodyReader) unread() int64 { return b.left + int64(b.zip.in.Buffered()) }

// release gives the buffers back. b may be nil.
func (b *bodyReader) release() {
	if b == nil || b.zip == nil {
		return
	}
	b.zip.in.Reset(nil)
	gunzips.Put(b.zip)
	b.zip = nil
}
