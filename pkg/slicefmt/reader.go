package slicefmt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A Record is one event of a recording as it is stored.
type Record struct {
	OneOf         []byte // the bytes of the events.OneOf; valid until the next call of Next
	events.Header        // what was read out of them; Type is valid as long as OneOf is
	Part          int    // ordinal of its part, from 1
	Offset        int64  // of its length in the part's uncompressed bytes
}

// A PartError says where in a recording something is wrong. It wraps one of this
// package's errors, or what reading the input returned.
type PartError struct {
	Part   int   // ordinal of the part, from 1
	Offset int64 // byte in the recording at which the part begins
	Err    error
}

// Error names the part and where it begins.
func (e *PartError) Error() string {
	return fmt.Sprintf("part %d at byte %d: %v", e.Part, e.Offset, e.Err)
}

// Unwrap is what is wrong.
func (e *PartError) Unwrap() error { return e.Err }

// PartInfo is what a Reader found a part to be.
type PartInfo struct {
	Part      int   // ordinal, from 1
	Offset    int64 // of its first byte in the recording
	Version   int
	Body      int64 // bytes of the body
	Padding   int64 // zero bytes after it
	Trailing  int64 // bytes of the body after its gzip member; 0 in what a Slice makes
	RawBytes  int64 // uncompressed
	Records   int64 // stored ones, duplicates included
	FirstSeen int64 // index of the first stored record; -1 without any
	LastSeen  int64 // highest index of a stored record; -1 without any
	Ascending bool  // every index was above all before it, in this part and those before
}

// Size is the bytes of the part: header, body and padding.
func (p PartInfo) Size() int64 { return int64(headerSize(p.Version)) + p.Body + p.Padding }

func headerSize(version int) int {
	if version == Version2 {
		return HeaderSizeV2
	}
	return HeaderSize
}

// A Reader reads the records of a recording one by one. It skips duplicates and
// counts them, counts gaps, and returns records of unknown types as they are.
//
// What it holds is bounded by constants: one record, the windows of DEFLATE, and
// a buffer. It is not safe for concurrent use.
type Reader struct {
	src    io.Reader
	offset int64 // in the recording, as far as whole parts have been read
	counts Counts
	err    error // why there is no more; returned again

	part    PartInfo
	open    bool // the member of part is being read
	body    *bodyReader
	out     *bufio.Reader // what the member expands to; a record is read where it lies in it
	ahead   []byte        // the end of what lies in out, not read yet
	observe func(PartInfo)
}

// NewReader reads a recording from its beginning. It reads nothing yet, and does
// not close r.
func NewReader(r io.Reader) *Reader {
	return &Reader{src: r, counts: NewCounts()}
}

// NewReaderAt reads the whole parts that lie in size bytes from off on. A reader
// that does not begin with the recording's first part is told so with
// [Reader.StartAt].
func NewReaderAt(ra io.ReaderAt, off, size int64) *Reader {
	return NewReader(io.NewSectionReader(ra, off, size))
}

// StartAt says that the input begins with a later part than the first: which,
// from 1, at which byte of the recording, and with the event of which index.
// What is before it is no gap. It is called before Next.
func (r *Reader) StartAt(part int, offset, next int64) {
	r.part.Part = part - 1
	r.offset = offset
	r.counts.LastIndex = next - 1
}

// OnPart has f called with each part that was read to its end.
func (r *Reader) OnPart(f func(PartInfo)) { r.observe = f }

// Counts is what has been read so far, over all inputs.
func (r *Reader) Counts() Counts { return r.counts }

// Continue goes on with another input, which begins with a part. The last index
// and the counts stay, so that an event which was there before is a duplicate.
// An error of the input before it is over with it.
func (r *Reader) Continue(src io.Reader) {
	r.closePart()
	r.src, r.offset, r.part, r.err = src, 0, PartInfo{}, nil
}

// Next returns the next record. At the end of the input after a whole part it
// returns io.EOF. Any other error is a *PartError around
//
//   - ErrTruncated if the input ended inside a part,
//   - ErrCorrupt if checksum, compressed data or a record's length is bad, or if a
//     record is no OneOf,
//   - ErrVersion or ErrEncrypted if the part cannot be read here,
//   - what the input's Read returned.
//
// All records before the damage are returned before it. An error stays.
func (r *Reader) Next() (Record, error) {
	for r.err == nil {
		if !r.open {
			r.err = r.nextPart()
			continue
		}
		var rec Record
		err := r.nextRecord(&rec)
		switch {
		case isEOF(err):
			r.err = r.endPart()
		case err != nil:
			r.fail(err)
		case r.take(&rec):
			return rec, nil
		}
	}
	r.closePart()
	return Record{}, r.err
}

// fail keeps the first error, with the part it is in.
func (r *Reader) fail(err error) {
	r.err = &PartError{Part: r.part.Part, Offset: r.part.Offset, Err: err}
}

// nextPart reads a header. It leaves the part open unless it has no body.
func (r *Reader) nextPart() error {
	r.part = PartInfo{Part: r.part.Part + 1, Offset: r.offset, FirstSeen: -1, LastSeen: -1, Ascending: true}
	flags, err := r.readHeader()
	if isEOF(err) {
		return io.EOF
	}
	if err == nil && r.part.Body == 0 {
		return r.endPart()
	}
	if err == nil {
		err = checkFlags(flags)
	}
	if err != nil {
		return &PartError{Part: r.part.Part, Offset: r.part.Offset, Err: err}
	}
	r.body, r.open = newBodyReader(r.src, r.part.Body), true
	if err := r.body.start(); err != nil {
		return &PartError{Part: r.part.Part, Offset: r.part.Offset, Err: err}
	}
	if r.out == nil {
		r.out = bufio.NewReaderSize(nil, frameSize+MaxRecord)
	}
	r.out.Reset(r.body.zip)
	r.ahead = nil
	return nil
}

// readHeader fills in version and sizes of the part and returns what a version 2
// header has beyond version 1, all zero for version 1. At the end of the input it
// returns io.EOF.
func (r *Reader) readHeader() (flags []byte, err error) {
	var header [HeaderSizeV2]byte
	n, err := io.ReadFull(r.src, header[:HeaderSize])
	if isEOF(err) {
		return nil, io.EOF
	}
	version := binary.BigEndian.Uint64(header[:])
	if n >= 8 && version != Version1 && version != Version2 {
		return nil, fmt.Errorf("%w %d", ErrVersion, version)
	}
	if err == nil && version == Version2 {
		var more int
		more, err = io.ReadFull(r.src, header[HeaderSize:])
		n += more
	}
	if isEOF(err) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w after %d bytes of a header", ErrTruncated, n)
	}
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	body, padding := binary.BigEndian.Uint64(header[8:]), binary.BigEndian.Uint64(header[16:])
	if body > maxPart || padding > maxPart {
		return nil, fmt.Errorf("%w: a body of %d bytes and padding of %d", ErrCorrupt, body, padding)
	}
	r.part.Version, r.part.Body, r.part.Padding = int(version), int64(body), int64(padding)
	return header[HeaderSize:], nil
}

// maxPart bounds what a header may say, so that offsets cannot overflow. It is
// more than any store takes.
const maxPart = 1 << 60

// checkFlags looks at what a version 2 header has beyond version 1; it is all
// zero for a version 1 header.
func checkFlags(b []byte) error {
	const encrypted = 1
	if b[0]&encrypted != 0 {
		return ErrEncrypted
	}
	for i, v := range b {
		if v != 0 {
			return fmt.Errorf("%w: byte %d of the header is %#x", ErrVersion, HeaderSize+i, v)
		}
	}
	return nil
}

// nextRecord reads a record of the open part. It returns io.EOF at the end of
// the part's gzip member.
func (r *Reader) nextRecord(rec *Record) error {
	if err := r.lookAhead(frameSize); err != nil {
		if len(r.ahead) == 0 && isEOF(err) {
			return io.EOF
		}
		return r.body.explain(err)
	}
	n := binary.BigEndian.Uint32(r.ahead)
	if n == 0 || n > MaxRecord {
		return fmt.Errorf("%w: record of %d bytes at byte %d", ErrCorrupt, n, r.part.RawBytes)
	}
	end := frameSize + int(n)
	if err := r.lookAhead(end); err != nil {
		return r.body.explain(err)
	}
	rec.OneOf, r.ahead = r.ahead[frameSize:end:end], r.ahead[end:]
	var err error
	if rec.Header, err = events.Scan(rec.OneOf); err != nil {
		return fmt.Errorf("%w: record at byte %d: %w", ErrCorrupt, r.part.RawBytes, err)
	}
	rec.Part, rec.Offset = r.part.Part, r.part.RawBytes
	r.part.RawBytes += int64(end)
	return nil
}

// lookAhead has n bytes lie in ahead, where they stay until more are needed. An
// error says why there are fewer.
func (r *Reader) lookAhead(n int) error {
	if len(r.ahead) >= n {
		return nil
	}
	_, _ = r.out.Discard(r.out.Buffered() - len(r.ahead)) // it is in the buffer
	_, err := r.out.Peek(n)
	r.ahead, _ = r.out.Peek(r.out.Buffered())
	return err
}

// take counts a record and says whether it is returned.
func (r *Reader) take(rec *Record) bool {
	p := &r.part
	p.Records++
	if p.Records == 1 {
		p.FirstSeen = rec.Index
	}
	p.LastSeen = max(p.LastSeen, rec.Index)
	fresh := r.counts.Take(rec.Header)
	p.Ascending = p.Ascending && fresh
	return fresh
}

// endPart skips what comes after the gzip member and reports the part.
func (r *Reader) endPart() error {
	rest := r.part.Padding
	if r.open {
		r.part.Trailing = r.body.unread()
		rest += r.body.left
	}
	r.closePart()
	if err := skip(r.src, rest); err != nil {
		return &PartError{Part: r.part.Part, Offset: r.part.Offset, Err: err}
	}
	r.counts.Parts++
	r.offset += r.part.Size()
	if r.observe != nil {
		r.observe(r.part)
	}
	return nil
}

func (r *Reader) closePart() {
	r.open = false
	r.body.release()
	r.body = nil
}

// skip reads n bytes and drops them.
func skip(src io.Reader, n int64) error {
	got, err := io.CopyN(io.Discard, src, n)
	if isEOF(err) {
		return fmt.Errorf("%w: %d bytes after the records are missing", ErrTruncated, n-got)
	}
	if err != nil {
		return fmt.Errorf("read padding: %w", err)
	}
	return nil
}
