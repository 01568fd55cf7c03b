package uploadlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// An Entry is one record of a session's log.
type Entry struct {
	Kind    string
	Seq     uint64
	State   bus.SessionState
	Payload []byte
	Time    time.Time // by the server's clock
	Expires bool      // the record has a time to live
}

// A Log is a session's whole log as it was at one moment, oldest record first.
type Log struct {
	Partition int
	SID       string
	Records   []Entry
}

// Last is the newest record. A Log that ReadLog returned has one.
func (l Log) Last() Entry { return l.Records[len(l.Records)-1] }

// ReadLog reads the log of a session, checkpoints left out, in one snapshot: what
// it returns is all that was stored up to a record that was the newest when it was
// called. It returns ErrNotFound if there is no log, and ErrNewer if a record of it
// is of a later version.
func ReadLog(ctx context.Context, conn *bus.Conn, p int, sid string) (Log, error) {
	log := Log{Partition: p, SID: sid}
	subject := bus.LogSubject(p, sid)
	// The leader says what is the newest; the consumer may be on a replica
	// that lags, and then waits for it.
	last, err := getLast(ctx, conn, subject)
	if err == nil {
		log.Records, err = readShort(ctx, conn, subject, last)
	}
	if err == nil && log.Records == nil {
		log.Records, err = readUpTo(ctx, conn, subject, last.Seq, silence)
	}
	if err != nil {
		return log, fmt.Errorf("read the log of session %s: %w", sid, err)
	}
	return log, nil
}

// readUpTo reads the records of a subject up to the one at last.
func readUpTo(ctx context.Context, conn *bus.Conn, subject string, last uint64, silence time.Duration) (records []Entry, err error) {
	err = consume(ctx, conn, false, silence, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}},
		func(m jetstream.Msg, seq, _ uint64) (bool, error) {
			if seq > last {
				// The newest went in between, by its TTL or a newer one.
				return false, fmt.Errorf("record %d: %w", last, ErrNotFound)
			}
			e, err := entry(m, seq)
			if err != nil {
				return false, err
			}
			records = append(records, e)
			return seq == last, nil
		})
	return records, err
}

// shortLog is how many records of a log are asked for one by one. Most sessions have
// two; to make a consumer for them, and to delete it, costs the server far more.
const shortLog = 6

// readShort reads a log of a few records from the stream's leader, up to last, which
// is its newest. It returns nil for one that is longer.
func readShort(ctx context.Context, conn *bus.Conn, subject string, last stored) ([]Entry, error) {
	if e, err := entryOf(last); err != nil || e.State.Upload != nil && e.State.Upload.Parts > shortLog {
		return nil, err
	}
	var records []Entry
	for next := uint64(1); len(records) < shortLog; {
		m, err := get(ctx, conn, map[string]any{"seq": next, "next_by_subj": subject})
		if err == nil && m.Seq > last.Seq {
			// The newest went in between, by its TTL or a newer one.
			err = fmt.Errorf("record %d: %w", last.Seq, ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		e, err := entryOf(m)
		if err != nil {
			return nil, err
		}
		if records = append(records, e); m.Seq == last.Seq {
			return records, nil
		}
		next = m.Seq + 1
	}
	return nil, nil
}

func entryOf(m stored) (Entry, error) {
	st, err := decodeState(m.Seq, m.Header.Get(bus.HeaderState))
	if err != nil {
		return Entry{}, err
	}
	return Entry{Kind: m.Header.Get(bus.HeaderKind), Seq: m.Seq, State: st, Payload: m.Data, Time: m.Time, Expires: m.Header.Get(headerTTL) != ""}, nil
}

func entry(m jetstream.Msg, seq uint64) (Entry, error) {
	h := m.Headers()
	st, err := decodeState(seq, h.Get(bus.HeaderState))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: h.Get(bus.HeaderKind), Seq: seq, State: st, Payload: m.Data(), Expires: h.Get(headerTTL) != ""}
	if meta, err := m.Metadata(); err == nil {
		e.Time = meta.Timestamp
	}
	return e, nil
}

// ReadLast reads the newest record of a session's log, as the stream's leader has it.
func ReadLast(ctx context.Context, conn *bus.Conn, p int, sid string) (Entry, error) {
	m, err := getLast(ctx, conn, bus.LogSubject(p, sid))
	if err != nil {
		return Entry{}, fmt.Errorf("read the newest record of session %s: %w", sid, err)
	}
	e, err := entryOf(m)
	if err != nil {
		return Entry{}, fmt.Errorf("read the newest record of session %s: %w", sid, err)
	}
	return e, nil
}

// CompareAndAppend stores rec in the session's log if the newest record there is
// still the one at prev, and returns its sequence. It is for those who do not own
// the partition, on a session that has ended. It returns ErrMoved if there is a
// newer record, and ErrUnknown if it could not be learnt within half a minute, or
// before ctx was done, what became of the write.
func CompareAndAppend(ctx context.Context, conn *bus.Conn, p int, sid string, prev uint64, rec Record) (uint64, error) {
	rec.State.SID, rec.State.Partition = sid, p
	seq, err := compareAndAppend(ctx, conn, prev, rec)
	if err != nil {
		return 0, fmt.Errorf("append %s to session %s after %d: %w", rec.Kind, sid, prev, err)
	}
	return seq, nil
}

func compareAndAppend(ctx context.Context, conn *bus.Conn, prev uint64, rec Record) (uint64, error) {
	nonce := nuid.Next()
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	for wait := newBackoff(); ; {
		m, err := message(rec)
		if err != nil {
			return 0, err
		}
		m.Header.Set(headerNonce, nonce)
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(prev, 10))
		if err := checkSize(conn, m); err != nil {
			return 0, err
		}
		seq, err := send(ctx, conn, []*nats.Msg{m})
		switch code := apiCode(err); {
		case err == nil:
			return seq, nil
		case code == codeInProcess:
		case code != 0 && code != codeWrongSequence:
			return 0, fmt.Errorf("%w: %w", ErrRefused, err)
		default:
			now, rerr := getLast(ctx, conn, m.Subject)
			switch {
			case errors.Is(rerr, ErrNotFound):
				return 0, fmt.Errorf("%w: the log is empty", ErrMoved)
			case rerr != nil:
				return 0, fmt.Errorf("%w: %w; then %w", ErrUnknown, err, rerr)
			case now.Header.Get(headerNonce) == nonce:
				return now.Seq, nil
			case now.Seq > prev:
				return 0, fmt.Errorf("%w: %s at %d", ErrMoved, now.Header.Get(bus.HeaderKind), now.Seq)
			}
		}
		if !wait.sleep(ctx) {
			return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
}

// A Successor is a record for a session's log whose newest record is still the one
// at Prev. It is for those who do not own the partition, on a session that has ended.
type Successor struct {
	Partition int
	SID       string
	Prev      uint64
	Record    Record
}

// AppendAll stores successors of different sessions as one atomic batch, which costs
// the server one sync to disk, and returns their sequences. After an error it is not
// known whether they are stored; [CompareAndAppend], called with each, finds out: it
// stores the record or returns ErrMoved, be it that AppendAll had stored it.
func AppendAll(ctx context.Context, conn *bus.Conn, all []Successor) ([]uint64, error) {
	if len(all) > MaxBatch {
		return nil, fmt.Errorf("append to %d sessions: %w (at most %d)", len(all), ErrTooLarge, MaxBatch)
	}
	msgs := make([]*nats.Msg, len(all))
	for i, a := range all {
		a.Record.State.SID, a.Record.State.Partition = a.SID, a.Partition
		m, err := message(a.Record)
		if err == nil {
			err = checkSize(conn, m)
		}
		if err != nil {
			return nil, fmt.Errorf("append %s to session %s after %d: %w", a.Record.Kind, a.SID, a.Prev, err)
		}
		m.Header.Set(headerNonce, nuid.Next())
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(a.Prev, 10))
		msgs[i] = m
	}
	last, err := send(ctx, conn, msgs)
	if err != nil {
		return nil, fmt.Errorf("append to %d sessions: %w", len(all), err)
	}
	seqs := make([]uint64, len(all))
	for i := range seqs {
		seqs[i] = last - uint64(len(all)-1-i)
	}
	return seqs, nil
}

// A Head is the newest record of a session's log without its payload.
type Head struct {
	Partition int
	SID       string
	Kind      string
	Seq       uint64
	Time      time.Time // by the server's clock
	Expires   bool      // the record has a time to live
}

// EachLog calls fn with the newest record of each session's log, of all
// partitions, until fn returns an error. It reads headers only.
func EachLog(ctx context.Context, conn *bus.Conn, fn func(Head) error) error {
	err := consume(ctx, conn, true, silence, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{AllLogs},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		HeadersOnly:    true,
	}, func(m jetstream.Msg, seq, pending uint64) (bool, error) {
		h, ok := headOf(m, seq)
		if !ok {
			// Nobody of ours writes such a subject; the others are looked at still.
			return pending == 0, nil
		}
		return pending == 0, fn(h)
	})
	if err != nil {
		return fmt.Errorf("look through the logs: %w", err)
	}
	return nil
}

func headOf(m jetstream.Msg, seq uint64) (Head, bool) {
	p, sid, err := ParseLogSubject(m.Subject())
	h := Head{Partition: p, SID: sid, Kind: m.Headers().Get(bus.HeaderKind), Seq: seq, Expires: m.Headers().Get(headerTTL) != ""}
	if meta, merr := m.Metadata(); merr == nil {
		h.Time = meta.Timestamp
	}
	return h, err == nil
}

// AllLogs matches the log of every session of every partition.
const AllLogs = "tapedeck.uploads.*.s.*"

// ParseLogSubject is the reverse of bus.LogSubject.
func ParseLogSubject(subject string) (p int, sid string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) == 5 {
		p, err = strconv.Atoi(tokens[2])
		sid = tokens[4]
	}
	if err != nil || len(tokens) != 5 || subject != bus.LogSubject(p, sid) {
		return 0, "", fmt.Errorf("subject %q is no session's log", subject)
	}
	if err := bus.ValidName(sid); err != nil {
		return 0, "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return p, sid, nil
}

// Shrink deletes all records and checkpoints of a session that are older than
// keep, one by one by their sequences: a purge by subject would hold up the whole
// stream. It may be repeated, and stopped at any record.
func Shrink(ctx context.Context, conn *bus.Conn, p int, sid string, keep uint64) (deleted int, err error) {
	var old []uint64
	// One filter with a wildcard where the subject says log or checkpoint.
	filter := strings.TrimSuffix(bus.LogSubject(p, sid), "s."+sid) + "*." + sid
	err = consume(ctx, conn, true, silence, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, HeadersOnly: true},
		func(_ jetstream.Msg, seq, pending uint64) (bool, error) {
			if seq < keep {
				old = append(old, seq)
			}
			return seq >= keep || pending == 0, nil
		})
	if err != nil {
		return 0, fmt.Errorf("shrink the log of session %s: %w", sid, err)
	}
	return deleteAll(ctx, conn, sid, old)
}

// ShrinkKnown is Shrink for a caller that has read the log: older are all its records
// but the newest, which is at keep. It makes no consumer unless there are checkpoints.
func ShrinkKnown(ctx context.Context, conn *bus.Conn, p int, sid string, keep uint64, older []uint64) (deleted int, err error) {
	if _, err := getLast(ctx, conn, bus.CheckpointSubject(p, sid)); !errors.Is(err, ErrNotFound) {
		return Shrink(ctx, conn, p, sid, keep)
	}
	return deleteAll(ctx, conn, sid, older)
}

func deleteAll(ctx context.Context, conn *bus.Conn, sid string, seqs []uint64) (deleted int, err error) {
	for i, seq := range seqs {
		if err := Delete(ctx, conn, seq); err != nil {
			return i, fmt.Errorf("shrink the log of session %s: %w", sid, err)
		}
	}
	return len(seqs), nil
}

// Delete deletes one record by its sequence. That it is gone already is no error.
func Delete(ctx context.Context, conn *bus.Conn, seq uint64) error {
	if err := deleteMsg(ctx, conn, seq); err != nil {
		return fmt.Errorf("delete record %d of %s: %w", seq, bus.StreamUploads, err)
	}
	return nil
}
