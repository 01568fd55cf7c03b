package accessrecv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// A Batch is records that came together.
type Batch struct {
	ID      string            // empty: it is not remembered
	Hash    [sha256.Size]byte // of the body as it came
	Records []accesslog.Record
}

// Known says whether the batch was stored before, with the same id and hash.
func (s *Store) Known(ctx context.Context, id string, hash [sha256.Size]byte) (records int, known bool, err error) {
	var was []byte
	err = s.read.QueryRowContext(ctx, "SELECT hash, records FROM batches WHERE id = ?", id).Scan(&was, &records)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look up batch %s: %w", id, err)
	}
	return records, bytes.Equal(was, hash[:]), nil
}

// A put is a batch that waits to be stored.
type put struct {
	batch Batch
	done  bool
	err   error
}

// Put stores the batch. When it returns nil the batch is on disk, synced. When it
// returns an error the batch may be stored or not; putting it again is safe. Its
// records must be valid.
//
// Batches that are put while another is being written are written together, in
// one transaction, by whoever comes first.
func (s *Store) Put(ctx context.Context, b Batch) error {
	if s.write == nil {
		return errors.New("put batch: the database is open for reading only")
	}
	mine := &put{batch: b}
	s.mu.Lock()
	s.waiting = append(s.waiting, mine)
	s.mu.Unlock()
	s.commit.Lock()
	defer s.commit.Unlock()
	if mine.done {
		return mine.err
	}
	s.mu.Lock()
	group := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	// The others must not fail because the sender of this one went away.
	err := s.writeAll(context.WithoutCancel(ctx), group)
	for _, p := range group {
		p.done, p.err = true, err
	}
	return err
}

func (s *Store) writeAll(ctx context.Context, group []*put) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("put %d batches: %w", len(group), err)
	}
	defer func() { _ = tx.Rollback() }() // of no effect after Commit
	w, err := newWriter(ctx, tx, s.now())
	if err != nil {
		return fmt.Errorf("put %d batches: %w", len(group), err)
	}
	for _, p := range group {
		if err := w.batch(ctx, &p.batch); err != nil {
			return fmt.Errorf("put batch %s (%d records): %w", p.batch.ID, len(p.batch.Records), err)
		}
	}
	// A crash before this leaves nothing of the group, one after it leaves all,
	// and then the senders come again with batches that are known.
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit %d batches: %w", len(group), err)
	}
	return nil
}

// A writer writes in one transaction.
type writer struct {
	now                     int64
	find, insert, rememberB *sql.Stmt
}

const (
	findSession = `SELECT ` + columns + ` FROM sessions WHERE id = ?`
	putSession  = `INSERT INTO sessions (id, resource, source, source_ip, dest, protocol, user, node, started, ended,
		bytes_tx, bytes_rx, connections, kind, reason, seq, heard) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET resource = excluded.resource, source = excluded.source, source_ip = excluded.source_ip,
		dest = excluded.dest, protocol = excluded.protocol, user = excluded.user, node = excluded.node, started = excluded.started,
		ended = excluded.ended, bytes_tx = excluded.bytes_tx, bytes_rx = excluded.bytes_rx, connections = excluded.connections,
		kind = excluded.kind, reason = excluded.reason, seq = excluded.seq, heard = excluded.heard`
	putBatch = `INSERT OR REPLACE INTO batches (id, hash, records, received) VALUES (?, ?, ?, ?)`
)

func newWriter(ctx context.Context, tx *sql.Tx, now time.Time) (*writer, error) {
	w := &writer{now: now.UnixMicro()}
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{{&w.find, findSession}, {&w.insert, putSession}, {&w.rememberB, putBatch}} {
		stmt, err := tx.PrepareContext(ctx, p.text) // closed with the transaction
		if err != nil {
			return nil, err
		}
		*p.stmt = stmt
	}
	return w, nil
}

func (w *writer) batch(ctx context.Context, b *Batch) error {
	for i := range b.Records {
		if err := w.record(ctx, normal(b.Records[i])); err != nil {
			return fmt.Errorf("session %s: %w", b.Records[i].SessionID, err)
		}
	}
	if b.ID == "" {
		return nil
	}
	_, err := w.rememberB.ExecContext(ctx, b.ID, b.Hash[:], len(b.Records), w.now)
	return err
}

func (w *writer) record(ctx context.Context, r accesslog.Record) error {
	known, err := scanSession(w.find.QueryRowContext(ctx, r.SessionID))
	heard := w.now
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	default:
		late := !newer(&r, &known.Record) // and so says nothing of now
		merged, news := fold(&known.Record, &r)
		if !news {
			return nil
		}
		if r = merged; late {
			heard = known.Heard.UnixMicro()
		}
	}
	ended := sql.NullInt64{Int64: r.EndedAt.UnixMicro(), Valid: r.Ended()}
	_, err = w.insert.ExecContext(ctx, r.SessionID, r.ResourceID, r.SourceAddr, sourceIP(r.SourceAddr), r.DestAddr, r.Protocol, r.User, r.Node,
		r.StartedAt.UnixMicro(), ended, r.BytesTx, r.BytesRx, r.Connections(), string(r.Kind), string(r.Reason), r.Seq, heard)
	return err
}

// Forget deletes what is older than the times: sessions that were last heard of
// before (never, if it is zero), and what is known of batches received before. It
// works in small steps, so that receiving goes on.
func (s *Store) Forget(ctx context.Context, sessions, batches time.Time) (int64, error) {
	var gone int64
	for _, step := range []struct {
		what   string
		before time.Time
		text   string
	}{
		{"batches", batches, `DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE received < ? LIMIT 1000)`},
		{"sessions", sessions, `DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE heard < ? LIMIT 1000)`},
	} {
		for !step.before.IsZero() {
			n, err := s.forget(ctx, step.text, step.before.UnixMicro())
			if err != nil {
				return gone, fmt.Errorf("forget %s: %w", step.what, err)
			}
			if n == 0 {
				break
			}
			if step.what == "sessions" {
				gone += n
			}
		}
	}
	return gone, nil
}

func (s *Store) forget(ctx context.Context, text string, before int64) (int64, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	res, err := s.write.ExecContext(ctx, text, before)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
