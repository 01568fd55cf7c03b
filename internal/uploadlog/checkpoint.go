package uploadlog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// maxCheckpointHead bounds the JSON at the head of a checkpoint.
const maxCheckpointHead = 64 << 10

// EncodeCheckpoint makes the payload of a checkpoint record. It fills in the
// lengths of blocks and tail, and copies both.
func EncodeCheckpoint(rec bus.CheckpointRecord, blocks, tail []byte) ([]byte, error) {
	rec.Blocks, rec.Tail = len(blocks), len(tail)
	if n := len(blocks) + len(tail); n > MaxCheckpointData {
		return nil, fmt.Errorf("encode checkpoint of slice %d: %w (%d bytes, at most %d)", rec.First, ErrTooLarge, n, MaxCheckpointData)
	}
	head, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint of slice %d: %w", rec.First, err)
	}
	out := make([]byte, 0, 4+len(head)+len(blocks)+len(tail))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = append(out, head...)
	out = append(out, blocks...)
	return append(out, tail...), nil
}

// DecodeCheckpoint reads the payload of a checkpoint record. blocks and tail alias it.
func DecodeCheckpoint(payload []byte) (rec bus.CheckpointRecord, blocks, tail []byte, err error) {
	if len(payload) < 4 {
		return rec, nil, nil, fmt.Errorf("read checkpoint: %d bytes are too few", len(payload))
	}
	n := binary.BigEndian.Uint32(payload)
	rest := payload[4:]
	if n > maxCheckpointHead || int(n) > len(rest) {
		return rec, nil, nil, fmt.Errorf("read checkpoint: its head of %d bytes does not fit %d", n, len(rest))
	}
	if err := json.Unmarshal(rest[:n], &rec); err != nil {
		return rec, nil, nil, fmt.Errorf("read checkpoint: %w", err)
	}
	rest = rest[n:]
	if rec.Blocks < 0 || rec.Tail < 0 || rec.Blocks > len(rest) || rec.Tail != len(rest)-rec.Blocks {
		return rec, nil, nil, fmt.Errorf("read checkpoint: %d and %d bytes announced, %d there", rec.Blocks, rec.Tail, len(rest))
	}
	return rec, rest[:rec.Blocks:rec.Blocks], rest[rec.Blocks:], nil
}

// ReadCheckpoint reads the checkpoint record at seq, from the stream's leader. A
// leader that has not applied all of its log yet is asked again, for a while;
// then the error wraps ErrNotFound.
func (o *Owner) ReadCheckpoint(ctx context.Context, seq uint64) (rec bus.CheckpointRecord, blocks, tail []byte, err error) {
	var m stored
	wait := newBackoff()
	for range 8 {
		m, err = get(ctx, o.conn, map[string]any{"seq": seq})
		if !errors.Is(err, ErrNotFound) || !wait.sleep(ctx) {
			break
		}
	}
	if err != nil {
		return rec, nil, nil, fmt.Errorf("read checkpoint %d: %w", seq, err)
	}
	if kind := m.Header.Get(bus.HeaderKind); kind != bus.KindCheckpoint {
		return rec, nil, nil, fmt.Errorf("read checkpoint %d: it is a %q of %s", seq, kind, m.Subject)
	}
	if _, err := decodeState(seq, m.Header.Get(bus.HeaderState)); errors.Is(err, ErrNewer) {
		return rec, nil, nil, err
	}
	rec, blocks, tail, err = DecodeCheckpoint(m.Data)
	if err != nil {
		return rec, nil, nil, fmt.Errorf("record %d: %w", seq, err)
	}
	return rec, blocks, tail, nil
}
