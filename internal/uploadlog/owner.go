package uploadlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// An Owner is one claim of a partition and its only writer. Its methods may be
// called from several goroutines; one write is under way at a time, because two
// under one fence make a replicated stream refuse the second.
type Owner struct {
	conn  *bus.Conn
	p     int
	lease bus.Lease
	fence uint64

	turn chan struct{} // holds one token: who has it may write

	mu        sync.Mutex
	err       error    // the first ErrFenced or ErrUnknown; nothing is written after
	cursorSeq uint64   // newest cursor record known
	doomed    []uint64 // sequences to delete
	deleting  bool     // a goroutine is at it
	idle      *sync.Cond
}

func newOwner(conn *bus.Conn, p int, lease bus.Lease, fence uint64) *Owner {
	o := &Owner{conn: conn, p: p, lease: lease, fence: fence, turn: make(chan struct{}, 1)}
	o.idle = sync.NewCond(&o.mu)
	o.turn <- struct{}{}
	return o
}

// Fence is the sequence of the owner's lease record.
func (o *Owner) Fence() uint64 { return o.fence }

// Partition is the partition that is owned.
func (o *Owner) Partition() int { return o.p }

// Err is the error that ended the ownership: ErrFenced, ErrUnknown, or nil.
func (o *Owner) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// Append stores recs, all or none, and returns their stream sequences. When it
// returns nil they are durable. One record is one message; several are one atomic
// batch, at most MaxBatch.
//
// Each record carries the fence. The errors are those of the package comment, and
// ErrTooLarge for a record that cannot be sent.
func (o *Owner) Append(ctx context.Context, recs ...Record) ([]uint64, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	if len(recs) > MaxBatch {
		return nil, fmt.Errorf("append %d records: %w (at most %d)", len(recs), ErrTooLarge, MaxBatch)
	}
	select {
	case <-o.turn:
		defer func() { o.turn <- struct{}{} }()
	case <-ctx.Done():
		// Nothing was sent, so nothing is in doubt.
		return nil, fmt.Errorf("append to partition %d: %w: %w", o.p, ErrRefused, ctx.Err())
	}
	if err := o.Err(); err != nil {
		return nil, err
	}
	last, err := o.write(ctx, recs)
	if err != nil {
		err = fmt.Errorf("append %d records to partition %d: %w", len(recs), o.p, err)
		if errors.Is(err, ErrFenced) || errors.Is(err, ErrUnknown) {
			o.mu.Lock()
			o.err = err
			o.mu.Unlock()
		}
		return nil, err
	}
	seqs := make([]uint64, len(recs))
	for i := range seqs {
		// A batch is stored in one run of sequences.
		seqs[i] = last - uint64(len(recs)-1-i)
	}
	return seqs, nil
}

// write sends recs until the server has answered for good, or has refused them for
// too long for a reason that should pass.
func (o *Owner) write(ctx context.Context, recs []Record) (uint64, error) {
	msgs, err := o.messages(recs)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	for wait := newBackoff(); ; {
		last, err := send(ctx, o.conn, msgs)
		switch apiCode(err) {
		case 0:
			return last, err
		case codeWrongSequence:
			if ferr := o.stillOwner(ctx); ferr != nil {
				return 0, fmt.Errorf("%w: %w", ferr, err)
			}
			// A new leader that has not applied our lease yet.
		case codeInProcess, codeBatchIncomplete, codeBatchInflight:
			// Not stored, for a reason that passes.
		default:
			return 0, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if !wait.sleep(ctx) {
			return 0, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
}

// Check asks whether the partition has another owner by now, and then returns an
// error that wraps ErrFenced. Any other error means that it is not known. It writes
// nothing: what an owner that is idle learns otherwise only by its next write.
func (o *Owner) Check(ctx context.Context) error {
	if err := o.Err(); err != nil {
		return err
	}
	err := o.stillOwner(ctx)
	if errors.Is(err, ErrFenced) {
		err = fmt.Errorf("check the lease of partition %d: %w", o.p, err)
		o.mu.Lock()
		o.err = err
		o.mu.Unlock()
	}
	return err
}

// stillOwner is nil while nobody else's lease is stored.
func (o *Owner) stillOwner(ctx context.Context) error {
	now, err := ReadLease(ctx, o.conn, o.p)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case now.Seq > o.fence, now.Seq == 0:
		return fmt.Errorf("%w: lease %d of %q, ours is %d", ErrFenced, now.Seq, now.Owner, o.fence)
	}
	return nil
}

// messages makes the fenced messages of recs.
func (o *Owner) messages(recs []Record) ([]*nats.Msg, error) {
	msgs := make([]*nats.Msg, len(recs))
	for i, rec := range recs {
		var m *nats.Msg
		var err error
		switch {
		case rec.Cursor != nil:
			m, err = o.cursorMessage(*rec.Cursor)
		case rec.State.Partition != o.p:
			err = fmt.Errorf("session %s is of partition %d", rec.State.SID, rec.State.Partition)
		default:
			m, err = message(rec)
		}
		if err != nil {
			return nil, err
		}
		fence := strconv.FormatUint(o.fence, 10)
		m.Header.Set(bus.HeaderFence, fence)
		if fenced {
			m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fence)
			m.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, bus.LeaseSubject(o.p))
		}
		if err := checkSize(o.conn, m); err != nil {
			return nil, err
		}
		msgs[i] = m
	}
	return msgs, nil
}

func (o *Owner) cursorMessage(c bus.Cursor) (*nats.Msg, error) {
	c.V = bus.LogVersion
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode cursor: %w", err)
	}
	m := nats.NewMsg(bus.CursorSubject(o.p))
	m.Data = data
	return m, nil
}

// WriteCursor stores c, fenced, and lets the cursor record before it go.
func (o *Owner) WriteCursor(ctx context.Context, c bus.Cursor) error {
	seqs, err := o.Append(ctx, Record{Cursor: &c})
	if err != nil {
		return err
	}
	o.NoteCursor(ctx, seqs[0])
	return nil
}

// NoteCursor says that a cursor record was stored at seq, as part of a batch, so
// that the one before it can go. WriteCursor does it itself.
func (o *Owner) NoteCursor(ctx context.Context, seq uint64) {
	o.mu.Lock()
	old := o.cursorSeq
	o.cursorSeq = max(seq, old)
	o.mu.Unlock()
	if old != 0 && old < seq {
		// A crash here leaves one small record too many, for good.
		o.Forget(ctx, old)
	}
}

// Release lets the partition go: it stores a free lease, so that another member
// can claim at once. All that the owner wanted to write must be written. It ends
// the ownership whatever it returns. Then it waits for what is to be forgotten, as
// long as ctx lets it: nobody else need wait for that.
func (o *Owner) Release(ctx context.Context) error {
	defer o.wait(ctx)
	select {
	case <-o.turn:
		defer func() { o.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("release partition %d: %w", o.p, ctx.Err())
	}
	if err := o.Err(); err != nil {
		return err
	}
	free := bus.Lease{V: bus.LogVersion, Nonce: o.lease.Nonce + "-free", At: time.Now().UTC(), Reason: "released by " + o.lease.Owner}
	_, err := swapLease(ctx, o.conn, o.p, o.fence, free)
	o.mu.Lock()
	o.err = fmt.Errorf("released: %w", ErrFenced)
	o.mu.Unlock()
	switch {
	case errors.Is(err, ErrLost):
		return fmt.Errorf("release partition %d: %w: %w", o.p, ErrFenced, err)
	case err != nil:
		return fmt.Errorf("release partition %d: %w", o.p, err)
	}
	return nil
}
