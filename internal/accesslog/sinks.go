package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// objectSink puts each batch into an object of its own, partitioned as query
// engines know it.
type objectSink struct {
	store       ObjectStore
	dir, suffix string
	deflated    bool
}

// ObjectName is the name of a batch's object in a directory partitioned by date
// and hour.
func ObjectName(dir string, hour time.Time, id, suffix string) string {
	hour = hour.UTC()
	return fmt.Sprintf("%sdate=%s/hour=%02d/%s%s", dir, hour.Format(time.DateOnly), hour.Hour(), id, suffix)
}

// Send puts the object if it is not there: then it is this batch's, put before.
func (s *objectSink) Send(ctx context.Context, b *Batch) error {
	body := b.Body()
	if s.deflated {
		body = b.Deflated()
	}
	err := s.store.Put(ctx, s.store.Key(ObjectName(s.dir, b.Hour, b.ID, s.suffix)), body, true)
	if errors.Is(err, s3store.ErrExists) {
		return nil
	}
	return err
}

// natsSink publishes each batch to a subject that some stream takes.
type natsSink struct {
	conn     *bus.Conn
	subject  string
	deflated bool
}

// Send publishes with the batch's id as message id too, so that the stream drops
// one that comes again within its duplicate window.
func (s *natsSink) Send(ctx context.Context, b *Batch) error {
	m := nats.NewMsg(s.subject)
	m.Header.Set(accesslog.HeaderBatch, b.ID)
	m.Header.Set(bus.HeaderVersion, "1")
	m.Header.Set(jetstream.MsgIDHeader, b.ID)
	if m.Data = b.Body(); s.deflated {
		m.Data = b.Deflated()
		m.Header.Set("Content-Encoding", "deflate")
	}
	if _, err := s.conn.JetStream().PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)); err != nil {
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			err = fmt.Errorf("%w (no stream takes the subject)", err)
		}
		return fmt.Errorf("publish batch %s (%d bytes) to %s: %w", b.ID, len(m.Data), s.subject, err)
	}
	return nil
}

// writerSink writes batches one after another.
type writerSink struct {
	mu    sync.Mutex
	w     io.Writer
	lines bool // a record a line, else a batch a line
}

// Send writes all of the batch with one write. It does not heed ctx while that blocks.
func (s *writerSink) Send(ctx context.Context, b *Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var out bytes.Buffer
	if s.lines {
		var recs []json.RawMessage
		if err := json.Unmarshal(b.Body(), &recs); err != nil {
			return fmt.Errorf("write batch %s: %w: %w", b.ID, ErrRefused, err)
		}
		for _, r := range recs {
			out.Write(r)
			out.WriteByte('\n')
		}
	} else {
		fmt.Fprintf(&out, "{\"batch\":%q,\"records\":%s}\n", b.ID, b.Body())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write batch %s (%d bytes): %w", b.ID, out.Len(), err)
	}
	return nil
}
