package accesslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A position is between two records of a stream: before record Off (from 0) of
// message Seq. Records that are not valid do not count. The end of a message is
// the beginning of the next number, whether that is there or not.
type position struct {
	Seq uint64 `json:"seq"`
	Off int    `json:"off,omitempty"`
}

func (p position) before(o position) bool {
	return p.Seq < o.Seq || p.Seq == o.Seq && p.Off < o.Off
}

// An entry is a batch in the ledger: all records from From up to To that the
// sink wants. The first To is the next From.
type entry struct {
	ID      string    `json:"id"`
	From    position  `json:"from"`
	To      position  `json:"to"`
	All     bool      `json:"all,omitempty"` // start and alive records too
	Hour    time.Time `json:"hour"`          // in which the bus got its messages
	Records int       `json:"records"`
	Sum     string    `json:"sum"`            // of the content, to notice if it is another when built again
	Done    bool      `json:"done,omitempty"` // the sink has it, but not yet one before it
}

// ledgerVersion is the version of ledgers that this package writes. It does not
// touch newer ones.
const ledgerVersion = 1

// A ledger is how far a sink is: all before Cursor is in the sink; then come the
// batches of Open, without a gap between; nothing of what follows was ever sent.
type ledger struct {
	V      int       `json:"v"`
	Owner  string    `json:"owner,omitempty"` // nonce of the lane that wrote it; empty: it has let go
	N      uint64    `json:"n"`               // counts the writes of one owner
	Stream time.Time `json:"stream"`          // when the stream was made: its sequences mean nothing in another
	Cursor position  `json:"cursor"`
	Open   []entry   `json:"open,omitempty"`
}

// A ledgerStore keeps ledgers. Its methods may be called from several goroutines.
type ledgerStore interface {
	// Load reads a ledger and its revision, which is 0 if there is none. What
	// it reads may be a little behind.
	Load(ctx context.Context, sink string) (ledger, uint64, error)
	// Save stores l durably if prev is the newest revision. After an error it
	// may be stored or not.
	Save(ctx context.Context, sink string, l ledger, prev uint64) (uint64, error)
}

const (
	ledgerBucket = "tapedeck-accesslog"
	ledgerBytes  = 16 << 20
)

var (
	errNewer  = errors.New("ledger is of a newer version")
	errFenced = errors.New("another process has taken the sink")
)

// kvStore keeps ledgers in a bucket, a key a sink.
type kvStore struct {
	conn   *bus.Conn
	layout bus.Layout

	mu sync.Mutex
	kv jetstream.KeyValue
}

func (s *kvStore) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kv != nil {
		return s.kv, nil
	}
	kv, err := s.conn.JetStream().CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: ledgerBucket, Description: "how far the access log's sinks are", History: 1,
		MaxBytes: ledgerBytes, Storage: s.layout.Storage, Replicas: max(s.layout.Replicas, 1),
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", ledgerBucket, err)
	}
	s.kv = kv
	return kv, nil
}

func (s *kvStore) Load(ctx context.Context, sink string) (ledger, uint64, error) {
	kv, err := s.bucket(ctx)
	if err != nil {
		return ledger{}, 0, err
	}
	e, err := kv.Get(ctx, sink)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return ledger{}, 0, nil
	}
	if err != nil {
		return ledger{}, 0, fmt.Errorf("read ledger of %s: %w", sink, err)
	}
	var l ledger
	if err := json.Unmarshal(e.Value(), &l); err != nil {
		return ledger{}, 0, fmt.Errorf("read ledger of %s, revision %d: %w", sink, e.Revision(), err)
	}
	if l.V > ledgerVersion {
		return ledger{}, 0, fmt.Errorf("read ledger of %s: version %d: %w than %d", sink, l.V, errNewer, ledgerVersion)
	}
	return l, e.Revision(), nil
}

func (s *kvStore) Save(ctx context.Context, sink string, l ledger, prev uint64) (uint64, error) {
	kv, err := s.bucket(ctx)
	if err != nil {
		return 0, err
	}
	b, err := json.Marshal(l)
	if err != nil {
		return 0, fmt.Errorf("write ledger of %s: %w", sink, err)
	}
	rev, err := kv.Update(ctx, sink, b, prev)
	if err != nil {
		return 0, fmt.Errorf("write ledger of %s (%d bytes, after revision %d): %w", sink, len(b), prev, err)
	}
	return rev, nil
}

// A writer writes the ledger of one sink for one lane.
type writer struct {
	store   ledgerStore
	sink    string
	nonce   string
	timeout time.Duration // of one request

	n   uint64
	rev uint64
}

// write stores l, and tries until that is known or ctx is done. An error that is
// errFenced means that another lane has written, and l is not stored.
func (w *writer) write(ctx context.Context, l ledger, free bool) error {
	w.n++
	l.V, l.N, l.Owner = ledgerVersion, w.n, w.nonce
	if free {
		l.Owner = ""
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		done, err := w.try(ctx, l)
		if done || errors.Is(err, errFenced) {
			return err
		}
		if !sleep(ctx, wait) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// try saves once. If it fails, it looks whether it has been saved nevertheless: a
// reply can be lost.
func (w *writer) try(ctx context.Context, l ledger) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	rev, saveErr := w.store.Save(ctx, w.sink, l, w.rev)
	if saveErr == nil {
		w.rev = rev
		return true, nil
	}
	is, rev, err := w.store.Load(ctx, w.sink)
	switch {
	case err != nil:
		return false, errors.Join(saveErr, err)
	case rev <= w.rev: // not stored, or a replica that is behind
		return false, saveErr
	case is.N == l.N && is.Owner == l.Owner && is.Cursor == l.Cursor:
		w.rev = rev
		return true, nil
	}
	return false, fmt.Errorf("write ledger of %s: %w", w.sink, errFenced)
}

// sleep waits for d; false if ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
