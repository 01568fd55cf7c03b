package slicefmt

import "fmt"

// A State is what must be kept of a Slice, beside the bytes of its blocks and
// its tail, to go on with it elsewhere.
type State struct {
	Records    int64  // records, those of the tail included
	RawBytes   int64  // uncompressed bytes, the tail's included
	BlockBytes int64  // compressed bytes of the whole blocks
	CRC        uint32 // CRC-32 (IEEE) of the uncompressed bytes in whole blocks
}

// State is the state of s as it is now. It belongs with Blocks and Tail of the
// same moment.
func (s *Slice) State() State {
	return State{Records: s.records, RawBytes: s.RawSize(), BlockBytes: s.BlockBytes(), CRC: s.crc}
}

// Blocks is the whole compressed blocks of s from an offset on, counted in
// compressed bytes from the first block. They are valid until the next change of
// s. Blocks only ever append: what was there at an offset stays as it is, so each
// checkpoint needs to store only what came after the one before.
//
// It panics if the offset is beyond BlockBytes or in blocks that were dropped.
func (s *Slice) Blocks(from int64) []byte {
	held := s.held()
	if from < s.dropped || from > s.dropped+int64(len(held)) {
		panic(fmt.Sprintf("slicefmt: blocks from %d of %d to %d", from, s.dropped, s.BlockBytes()))
	}
	return held[from-s.dropped:]
}

// Tail is the framed records of s that are in no block yet, fewer than BlockSize
// bytes. They are valid until the next change of s.
func (s *Slice) Tail() []byte { return s.pending.bytes() }

// Drop lets the whole blocks go from memory. They must be stored elsewhere:
// Finish needs them again.
func (s *Slice) Drop() {
	s.dropped = s.BlockBytes()
	s.blocks.free()
	s.blocks = nil
}

// Restore is the Slice that had this state and this tail, with its blocks
// dropped. It does not keep tail. Its error wraps ErrCorrupt if the two do not
// belong together as far as can be seen without the blocks.
func Restore(st State, tail []byte) (*Slice, error) {
	n, err := countFrames(tail)
	if err != nil {
		return nil, fmt.Errorf("restore slice: %w: %w", ErrCorrupt, err)
	}
	blockRaw := st.RawBytes - int64(len(tail))
	blockRecords := st.Records - n
	switch {
	case len(tail) >= BlockSize:
		return nil, fmt.Errorf("restore slice: %w: tail of %d bytes", ErrCorrupt, len(tail))
	case blockRaw < 0 || blockRecords < 0 || st.BlockBytes < 0:
		return nil, fmt.Errorf("restore slice: %w: %d records of %d bytes in all, %d records of %d bytes in the tail, blocks of %d bytes",
			ErrCorrupt, st.Records, st.RawBytes, n, len(tail), st.BlockBytes)
	case (blockRaw == 0) != (st.BlockBytes == 0) || (blockRaw == 0) != (blockRecords == 0):
		return nil, fmt.Errorf("restore slice: %w: %d records of %d bytes in blocks of %d bytes",
			ErrCorrupt, blockRecords, blockRaw, st.BlockBytes)
	}
	s := &Slice{dropped: st.BlockBytes, records: st.Records, blockRaw: blockRaw, crc: st.CRC}
	if len(tail) > 0 {
		s.pending = newBuffer(len(tail))
		s.pending.b = append(s.pending.b, tail...)
	}
	return s, nil
}

func countFrames(b []byte) (n int64, err error) {
	for len(b) > 0 {
		if _, b, err = NextFrame(b); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
