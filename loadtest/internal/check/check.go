// Package check reads recordings back and compares them, event for event and byte
// for byte, with what was published.
package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/mix"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A Result is what was found in the recordings that were read.
type Result struct {
	Sessions   int64 `json:"sessions"` // recordings read back
	Events     int64 `json:"events"`   // events that are what was published
	Lost       int64 `json:"lost"`     // published, and not in the recording
	Duplicates int64 `json:"duplicates"`
	Disorder   int64 `json:"out_of_order"`
	Different  int64 `json:"different"`  // there with other bytes
	Extra      int64 `json:"extra"`      // there and never published
	Late       int64 `json:"late"`       // messages kept beside recordings
	Unreadable int64 `json:"unreadable"` // recordings that could not be read to their end
	Invalid    int64 `json:"invalid"`    // recordings that their manifest does not agree with

	Stored  int64 `json:"stored_bytes"`
	Raw     int64 `json:"raw_bytes"`
	Padding int64 `json:"padding_bytes"`
	Parts   int64 `json:"parts"`

	Problems []string `json:"problems,omitempty"` // the first of them
}

// OK says whether all that was read is as it should be.
func (r Result) OK() bool {
	return r.Lost+r.Duplicates+r.Disorder+r.Different+r.Extra+r.Late+r.Unreadable+r.Invalid == 0
}

const maxProblems = 20

func (r *Result) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

func (r *Result) add(o Result) {
	r.Sessions += o.Sessions
	r.Events += o.Events
	r.Lost += o.Lost
	r.Duplicates += o.Duplicates
	r.Disorder += o.Disorder
	r.Different += o.Different
	r.Extra += o.Extra
	r.Late += o.Late
	r.Unreadable += o.Unreadable
	r.Invalid += o.Invalid
	r.Stored += o.Stored
	r.Raw += o.Raw
	r.Padding += o.Padding
	r.Parts += o.Parts
	for _, p := range o.Problems {
		r.problem("%s", p)
	}
}

// Sessions reads the recordings of the sessions, several at once, and calls done
// after each. Its error is ctx's.
func Sessions(ctx context.Context, store *s3store.Store, sessions []*load.Session, workers int, done func()) (Result, error) {
	var total Result
	var mu sync.Mutex
	var wg sync.WaitGroup
	work := make(chan *load.Session)
	for range workers {
		wg.Go(func() {
			for s := range work {
				r := session(ctx, store, s)
				mu.Lock()
				total.add(r)
				mu.Unlock()
				done()
			}
		})
	}
	for _, s := range sessions {
		if ctx.Err() != nil {
			break
		}
		work <- s
	}
	close(work)
	wg.Wait()
	return total, ctx.Err()
}

func session(ctx context.Context, store *s3store.Store, s *load.Session) Result {
	c := &checker{s: s, script: s.Script()}
	c.count, _ = s.Events()
	c.Sessions = 1
	if err := c.compare(ctx, store); err != nil {
		c.Unreadable++
		c.problem("session %s (%s): %v", s.SID, s.Kind.Name, err)
		return c.Result
	}
	if err := c.verify(ctx, store); err != nil {
		c.Invalid++
		c.problem("session %s (%s): %v", s.SID, s.Kind.Name, err)
	}
	return c.Result
}

// A checker compares one recording. It makes the session's events anew, in step with
// those that it reads.
type checker struct {
	Result
	s      *load.Session
	script *mix.Script
	next   int64 // index of the next event to make
	count  int64 // of all
	buf    []byte
}

func (c *checker) compare(ctx context.Context, store *s3store.Store) error {
	body, err := store.Get(ctx, store.Key(c.s.SID+".tar"))
	if err != nil {
		return err
	}
	defer body.Close()
	r := slicefmt.NewReader(body)
	r.OnPart(func(p slicefmt.PartInfo) {
		c.Parts++
		c.Padding += p.Padding
		c.Stored += p.Size()
		c.Raw += p.RawBytes
		if !p.Ascending {
			c.Disorder++
		}
	})
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read event %d: %w", c.next, err)
		}
		if err := c.event(rec); err != nil {
			return err
		}
	}
	c.Duplicates += r.Counts().Duplicates
	if c.next < c.count {
		c.lose(c.next, c.count)
	}
	return nil
}

func (c *checker) lose(from, to int64) {
	c.Lost += to - from
	c.problem("session %s (%s): events %d to %d are lost", c.s.SID, c.s.Kind.Name, from, to-1)
}

// event compares one event, which the reader gives in order of index.
func (c *checker) event(rec slicefmt.Record) error {
	if rec.Index >= c.count {
		c.Extra++
		c.problem("session %s (%s): event %d was never published", c.s.SID, c.s.Kind.Name, rec.Index)
		return nil
	}
	if rec.Index > c.next {
		c.lose(c.next, rec.Index)
	}
	for c.next <= rec.Index {
		if err := c.make(); err != nil {
			return err
		}
	}
	if !bytes.Equal(rec.OneOf, c.buf) {
		c.Different++
		c.problem("session %s (%s): event %d is not what was published", c.s.SID, c.s.Kind.Name, rec.Index)
		return nil
	}
	c.Events++
	return nil
}

func (c *checker) make() (err error) {
	if c.next == c.count-1 {
		c.buf, err = c.script.End(c.buf[:0])
	} else {
		c.buf, err = c.script.Next(c.buf[:0])
	}
	c.next++
	return err
}

// verify checks the recording against its manifest, as `tapedeck verify` does.
func (c *checker) verify(ctx context.Context, store *s3store.Store) error {
	r, err := recording.OpenObject(ctx, store, c.s.SID)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	m, err := r.Manifest()
	if err != nil {
		return err
	}
	c.Late += m.Late
	report, err := recording.Verify(ctx, r, m)
	if err != nil {
		return err
	}
	if report.Verdict != recording.OK {
		return fmt.Errorf("verify: %s: %v", report.Verdict, report.Problems)
	}
	if m.Duplicates > 0 {
		c.Duplicates += m.Duplicates
	}
	return nil
}
