// Package slicefmt reads and writes the parts of a session recording.
//
// A recording is its parts laid end to end; nothing wraps them. So a part can be
// one part of a multipart upload, and the object that the parts add up to is the
// recording, readable with no index and no other file. A part is a header of 24
// bytes and one gzip member; the member holds records, each four bytes of length
// and the bytes of one events.OneOf. Every integer is big-endian.
//
// A [Slice] builds a part and a [Reader] reads a recording. A [Manifest] lies
// beside a finished recording and says where its parts begin, which events each
// holds and what their checksums are; it makes reading quick and checking
// possible, and a recording can be read without it.
//
// # How a part is built
//
// Records gather in a small buffer. Each time it holds about [BlockSize] bytes
// they are compressed on their own and the result ends on a byte boundary, so the
// gzip member is the plain concatenation of such blocks and no compressor is held
// in between: a session that is idle holds its pending records and nothing else,
// and what a checkpoint has stored of a part only ever grows at its end.
//
// The bytes of a part are a function of its records alone: of neither how they
// were handed over, nor time, nor whether the part was checkpointed and restored
// half way. They may differ between versions of this package.
//
// # Compatibility
//
// A Reader reads versions 1 and 2 of the part header and refuses any other with
// [ErrVersion]; encrypted parts are refused with [ErrEncrypted]. A Slice writes
// version 1, as existing players read it, and will stay so. A Reader never holds
// more memory than a few constants add up to, whatever its input says.
package slicefmt

import "errors"

const (
	// Version1 is the version in the header of a part that is not encrypted.
	Version1 = 1
	// Version2 is the version in the header of a part that may be encrypted.
	Version2 = 2

	// HeaderSize is the size of a version 1 part header.
	HeaderSize = 24
	// HeaderSizeV2 is the size of a version 2 part header.
	HeaderSizeV2 = 32

	// MaxRecord is the most bytes that a record's OneOf may have. Readers in the
	// field hold a buffer of that size.
	MaxRecord = 65536
	// MaxIndex is the highest index of an event in a recording. Events that are in
	// the audit log only have the two above it.
	MaxIndex = 1<<31 - 3
	// MinPartSize is the least that S3 takes for any part of an upload but the
	// last, header included.
	MinPartSize = 5 << 20
	// BlockSize is how many bytes of records are compressed together. A single
	// record may be longer than that by its frame.
	BlockSize = 64 << 10

	// frameSize is the length that goes before each record.
	frameSize = 4
)

// Errors that a caller can test for with errors.Is. What a Reader returns is a
// [PartError] around one of them.
var (
	// ErrTorn is a frame that goes on beyond the bytes at hand.
	ErrTorn = errors.New("record is cut short")
	// ErrRecordSize is a record without bytes or with more than MaxRecord.
	ErrRecordSize = errors.New("record size is not within 1 to 65536 bytes")

	// ErrTruncated is a recording that ends inside a part. The records before
	// the end were good and have been returned.
	ErrTruncated = errors.New("recording is truncated")
	// ErrCorrupt is a recording whose bytes contradict themselves.
	ErrCorrupt = errors.New("recording is corrupt")
	// ErrVersion is a part or a manifest of a version that is not known here.
	ErrVersion = errors.New("unsupported version")
	// ErrEncrypted is a part that cannot be read without a key.
	ErrEncrypted = errors.New("part is encrypted")
)
