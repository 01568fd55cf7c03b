package slicefmt

import (
	"encoding/binary"
	"fmt"
)

// AppendFrame appends one record, its length first, to dst. It does not check
// the size: that is for whoever accepts the record.
func AppendFrame(dst, oneof []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(oneof)))
	return append(dst, oneof...)
}

// NextFrame takes the first record off b. Both results alias b. Its error wraps
// ErrRecordSize if the length is out of bounds and ErrTorn if b ends too early;
// the length is judged before anything else.
func NextFrame(b []byte) (oneof, rest []byte, err error) {
	if len(b) < frameSize {
		return nil, b, fmt.Errorf("read record length from %d bytes: %w", len(b), ErrTorn)
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > MaxRecord {
		return nil, b, fmt.Errorf("read record of %d bytes: %w", n, ErrRecordSize)
	}
	if uint32(len(b)-frameSize) < n {
		return nil, b, fmt.Errorf("read record of %d bytes from %d: %w", n, len(b)-frameSize, ErrTorn)
	}
	end := frameSize + int(n)
	return b[frameSize:end:end], b[end:], nil
}

// IsFramed says whether a message's payload is framed records rather than one
// bare OneOf. A frame begins with a zero byte because MaxRecord is below 2^24,
// and no protobuf message does.
func IsFramed(payload []byte) bool {
	return len(payload) > 0 && payload[0] == 0
}
