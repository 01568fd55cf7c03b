package slicefmt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"unsafe"
)

// gzipHeader opens the member of every part: DEFLATE, no name, no time, fastest,
// unknown system. With nothing in it that varies, equal records make equal bytes.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}

// deflateEnd is an empty last block. It follows a sync flush, so it begins at a
// byte.
var deflateEnd = [2]byte{0x03, 0x00}

const (
	lead        = HeaderSize + len(gzipHeader) // before the first block
	gzipTrailer = 8                            // CRC-32 and size
)

// A Slice is one part that is being built. Its zero value is empty and ready.
//
// It is not safe for concurrent use. Appending allocates nothing once the pools
// are warm, and an idle Slice holds its pending records and its compressed
// blocks; see [Slice.Drop] for letting those go too.
type Slice struct {
	pending *buffer // whole frames that are in no block yet; fewer than BlockSize bytes
	blocks  *buffer // room for lead, then the blocks that are held
	dropped int64   // compressed bytes of blocks that are not held; they come before those that are
	coming  int     // bytes of frames that Expect spoke of and that have not come yet

	records  int64
	blockRaw int64  // uncompressed bytes in whole blocks, dropped ones included
	crc      uint32 // of those bytes
}

// A Sum says what is in a finished part.
type Sum struct {
	SHA256   string // of the part's bytes, in hexadecimal
	Bytes    int64  // the part's bytes, header included
	RawBytes int64  // uncompressed bytes: records and their lengths
	Records  int64
}

// Append adds one record to the part. It does not keep oneof. A record of no
// bytes or more than MaxRecord is refused with ErrRecordSize and leaves the part
// as it was.
func (s *Slice) Append(oneof []byte) error {
	if len(oneof) == 0 || len(oneof) > MaxRecord {
		return fmt.Errorf("append record of %d bytes: %w", len(oneof), ErrRecordSize)
	}
	s.reserve(frameSize + len(oneof))
	s.pending.b = AppendFrame(s.pending.b, oneof)
	s.appended()
	return nil
}

// AppendFrame adds one record with its length before it, as AppendFrame makes
// it, and copies it as it is. It does not keep frame. Anything but exactly one
// whole frame is refused with ErrRecordSize or ErrTorn and leaves the part as it
// was.
func (s *Slice) AppendFrame(frame []byte) error {
	_, rest, err := NextFrame(frame)
	if err != nil {
		return fmt.Errorf("append frame: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("append frame: %d bytes after the record: %w", len(rest), ErrTorn)
	}
	s.reserve(len(frame))
	s.pending.b = append(s.pending.b, frame...)
	s.appended()
	return nil
}

// Expect says that n bytes of frames are about to be appended, as when they came in
// one message. They are then copied once, where room that grows record by record
// has most of them copied three times. It is a hint: the part's bytes are the same
// without it, and it may be wrong.
func (s *Slice) Expect(n int) { s.coming = n }

// busyMessage is the size of a message from which on a session is taken for a busy
// one, whose pending records will soon fill a block: they get room for all of it.
const busyMessage = BlockSize / 4

// reserve makes room for n bytes of a frame. What is pending becomes a block if
// it would grow beyond BlockSize: where blocks end depends on the sizes of the
// records and on nothing else.
func (s *Slice) reserve(n int) {
	p := len(s.pending.bytes())
	if p > 0 && p+n > BlockSize {
		s.cut()
		p = 0
	}
	if p+n > s.pending.capacity() {
		room := min(s.coming, BlockSize-p)
		if room >= busyMessage {
			room = BlockSize - p
		}
		s.pending = s.pending.grow(max(n, room))
	}
	s.coming = max(0, s.coming-n)
}

func (s *Slice) appended() {
	s.records++
	if len(s.pending.b) >= BlockSize {
		s.cut()
	}
}

// cut turns what is pending into a block.
func (s *Slice) cut() {
	raw := s.pending.b
	s.blocks = s.withLead()
	s.blocks = compress(s.blocks, raw, false)
	s.crc = crc32.Update(s.crc, crc32.IEEETable, raw)
	s.blockRaw += int64(len(raw))
	s.pending.free()
	s.pending = nil
}

// withLead is the buffer of blocks, which always begins with room for what goes
// before the first, so that a part is finished in place.
func (s *Slice) withLead() *buffer {
	if s.blocks != nil {
		return s.blocks
	}
	b := newBuffer(lead)
	b.b = append(b.b, make([]byte, lead)...)
	return b
}

// Records is how many records the part has.
func (s *Slice) Records() int64 { return s.records }

// RawSize is the uncompressed bytes of the part's records, lengths included.
func (s *Slice) RawSize() int64 { return s.blockRaw + int64(len(s.pending.bytes())) }

// Size is the bytes that the part would have at most if it were finished now.
// It is at most a few bytes too many for records that cannot be compressed, and
// for others what the pending records shrink by.
func (s *Slice) Size() int64 {
	return int64(lead+len(deflateEnd)+gzipTrailer) + s.BlockBytes() + compressBound(int64(len(s.pending.bytes())))
}

// BlockBytes is the compressed bytes of all whole blocks, dropped ones included.
func (s *Slice) BlockBytes() int64 { return s.dropped + int64(len(s.held())) }

// Held is the bytes of memory that the Slice holds.
func (s *Slice) Held() int {
	return int(unsafe.Sizeof(*s)) + s.pending.capacity() + s.blocks.capacity()
}

// held is the blocks that have not been dropped.
func (s *Slice) held() []byte {
	if s.blocks == nil {
		return nil
	}
	return s.blocks.b[lead:]
}

// Finish makes the part of the records so far and empties the Slice, which can
// be used anew. The bytes are the caller's; [Recycle] takes them back.
//
// prefix is the blocks that were let go with Drop or left out by Restore, and nil
// if there were none. One of another length is refused and leaves the Slice as it
// was; one of other bytes is found out by whoever reads the part. A Slice without
// records makes a part without records, which readers skip over.
func (s *Slice) Finish(prefix []byte) ([]byte, Sum, error) {
	if int64(len(prefix)) != s.dropped {
		return nil, Sum{}, fmt.Errorf("finish part: %d bytes of dropped blocks were given, %d are needed", len(prefix), s.dropped)
	}
	if len(s.pending.bytes()) > 0 {
		s.cut()
	}
	out := s.withLead()
	s.blocks = nil
	if len(prefix) > 0 {
		out = insertPrefix(out, prefix)
	}
	out = out.grow(len(deflateEnd) + gzipTrailer)
	part := append(out.b, deflateEnd[:]...)
	part = binary.LittleEndian.AppendUint32(part, s.crc)
	part = binary.LittleEndian.AppendUint32(part, uint32(s.blockRaw))
	putHeader(part, len(part)-HeaderSize)
	copy(part[HeaderSize:], gzipHeader[:])

	sha := sha256.Sum256(part)
	sum := Sum{SHA256: hex.EncodeToString(sha[:]), Bytes: int64(len(part)), RawBytes: s.blockRaw, Records: s.records}
	*s = Slice{}
	return part, sum, nil
}

// insertPrefix is out with prefix between the lead and the blocks.
func insertPrefix(out *buffer, prefix []byte) *buffer {
	whole := newBuffer(len(out.b) + len(prefix) + len(deflateEnd) + gzipTrailer)
	whole.b = append(whole.b, out.b[:lead]...)
	whole.b = append(whole.b, prefix...)
	whole.b = append(whole.b, out.b[lead:]...)
	out.free()
	return whole
}

func putHeader(part []byte, body int) {
	binary.BigEndian.PutUint64(part, Version1)
	binary.BigEndian.PutUint64(part[8:], uint64(body))
	binary.BigEndian.PutUint64(part[16:], 0)
}

// Recycle lets part, which Finish made, be used for other parts. Nobody may use
// it any more. Calling it is worth it for a program that makes many parts, and
// never needed.
func Recycle(part []byte) {
	class := classFor(cap(part))
	if class >= bufferClasses || classSize(class) != cap(part) {
		return // not from a pool
	}
	b := buffer{b: part, class: class}
	b.free()
}

// Reset empties the Slice and gives its buffers back.
func (s *Slice) Reset() {
	s.pending.free()
	s.blocks.free()
	*s = Slice{}
}
