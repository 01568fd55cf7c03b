// Package uploadlog reads and writes the upload log: what has become durable of
// each session, and who may write that.
//
// The log is one JetStream stream, UPLOADS, used as a fenced log and not as a
// queue. A partition's subjects are its lease, its cursor, and for each session a
// log and the checkpoints of slices that are not yet parts. Each record of a
// session carries the session's whole state in a header, so the newest record, by
// stream sequence over the session's two subjects, is the state.
//
// # The fence
//
// Whoever wrote the newest record on a partition's lease subject owns the
// partition, and the sequence of that record is the fence. A lease is written by
// compare and swap, and each record of an owner carries "the last sequence on the
// lease subject is <fence>". So once somebody else has claimed the partition the
// server stores nothing more of the old owner, however long it slept and whatever
// it believes. No clock and no membership decides this; [Members] is only a hint.
//
// # What an error means
//
//   - [ErrFenced]: somebody else owns the partition. Nothing was stored. Drop all
//     that is held for it.
//   - [ErrUnknown]: no answer. The record may be stored, now or a little later.
//     Give the partition up; whoever claims it next reads what was stored.
//   - [ErrRefused]: the server would not store it, for example because the stream
//     is full. Nothing was stored; the same write may be tried again.
//
// After ErrFenced or ErrUnknown an [Owner] is of no more use: it returns the same
// error again and writes nothing.
package uploadlog

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// Errors that callers test for with errors.Is.
var (
	// ErrLost is returned when somebody else's claim came first.
	ErrLost = errors.New("claim lost")
	// ErrFenced is returned when somebody else owns the partition. Nothing was stored.
	ErrFenced = errors.New("fenced out: somebody else owns the partition")
	// ErrUnknown is returned when there was no answer. The write may be stored.
	ErrUnknown = errors.New("outcome unknown")
	// ErrRefused is returned when the server refused the write for another
	// reason than the fence. Nothing was stored; it may be tried again.
	ErrRefused = errors.New("write refused")
	// ErrMoved is returned by CompareAndAppend when the log has a newer record
	// than the one expected. Nothing was stored.
	ErrMoved = errors.New("log has moved on")
	// ErrNotFound is returned when a record or a session's log is not there.
	ErrNotFound = errors.New("not found")
	// ErrNewer is returned for a record of a later version than this build
	// knows. It is left alone.
	ErrNewer = errors.New("record is of a newer version")
	// ErrNameTaken is returned when two members have one name.
	ErrNameTaken = errors.New("member name is in use")
	// ErrTooLarge is returned when a record is over what the server takes.
	// Nothing was sent.
	ErrTooLarge = errors.New("record is too large")
)

// Limits of one write.
const (
	// MaxBatch is how many records one Append can store: the server's limit.
	MaxBatch = 1000
	// MaxCheckpointData is how many bytes of blocks and tail one checkpoint
	// record should carry. It leaves room for headers below NATS's 1 MiB.
	MaxCheckpointData = 900 << 10
	// maxHeader is how large a record's state may be; the server stores the
	// size of all headers in 16 bits.
	maxHeader = 60 << 10
)

// A Record is one record to be appended. Set Kind and State, and Payload where the
// kind has one; or only Cursor.
type Record struct {
	Kind    string           // one of bus.Kind...; decides the subject
	State   bus.SessionState // its SID and Partition name the subject; its V is filled in
	Payload []byte           // not kept after the call
	TTL     time.Duration    // the record goes after this time; 0: never. Whole seconds

	Cursor *bus.Cursor // not nil: the partition's cursor, and nothing else; its V is filled in
}

// checkVersion refuses what a later version wrote.
func checkVersion(what string, v int) error {
	if v > bus.LogVersion {
		return fmt.Errorf("read %s: %w (%d, this build knows %d)", what, ErrNewer, v, bus.LogVersion)
	}
	return nil
}
