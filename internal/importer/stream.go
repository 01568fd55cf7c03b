package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// alive is how often a session whose events come slowly, on standard input,
// says that it lives. Abandoning one takes six times as long by default.
const alive = 10 * time.Minute

// A copier publishes the events of a feed as they are.
type copier struct {
	j      *job
	feed   feed
	pub    *bus.Publisher
	stream *bus.Stream
	sid    string
	count  int64 // published
	left   int64 // session.upload and session.data
	gaps   int64 // indexes that no event had
}

// importEvents publishes what a feed gives as one session.
func (j *job) importEvents(ctx context.Context, f feed) error {
	c := &copier{j: j, feed: f, pub: bus.NewPublisher(j.conn, j.layout, bus.PublisherOptions{Meter: j.deps.Meter})}
	defer c.pub.Close()
	err := c.copy(ctx)
	if c.stream == nil {
		if err == nil {
			err = errEmpty
		}
		return where(j.name, err)
	}
	if ended := c.stream.Err(); ended != nil { // the bus takes no more of it
		return where(j.name, cmp.Or(err, ended))
	}
	ending, cancel := ctx, context.CancelFunc(func() {})
	if err != nil {
		err = where(j.name, err)
		ending, cancel = j.ending(ctx)
	}
	defer cancel()
	if endErr := c.stream.End(ending); endErr != nil {
		return errors.Join(err, fmt.Errorf("%s: %w (session %s is not ended)", j.name, endErr, c.sid))
	}
	j.say("imported %d events as session %s%s", c.count, c.sid, c.notes())
	return err
}

func (c *copier) notes() string {
	s := c.feed.note()
	if c.left > 0 {
		s += fmt.Sprintf("; left out %d session.upload and session.data events", c.left)
	}
	if c.gaps > 0 {
		s += fmt.Sprintf("; %d indexes are missing, so the recording has gaps (--renumber closes them)", c.gaps)
	}
	return s
}

func (c *copier) copy(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer cancel(nil)
	for {
		one, err := c.feed.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		h, err := events.Scan(one)
		if err != nil {
			return c.bad(err)
		}
		if t := string(h.Type); t == "session.upload" || t == "session.data" {
			c.left++
			continue
		}
		if c.stream == nil {
			if err := c.open(ctx, one); err != nil {
				return err
			}
			keeper.Go(func() { keepAlive(ctx, c.stream) })
		}
		if err := c.publish(ctx, one, h.Index); err != nil {
			return err
		}
	}
}

// open begins the session that the first event is of.
func (c *copier) open(ctx context.Context, first []byte) (err error) {
	if c.sid = c.j.cmd.Session; c.sid == "" {
		c.sid = sessionID(first)
	}
	if bus.ValidName(c.sid) != nil {
		c.sid = uuid.NewString()
	}
	if c.stream, err = c.pub.Open(ctx, c.j.node(), c.sid); err != nil {
		return err
	}
	fmt.Fprintln(c.j.deps.Stdout, c.sid)
	return nil
}

// sessionID is the session that an event says it is of, if it does.
func sessionID(oneof []byte) string {
	one, err := events.Unmarshal(oneof)
	if err != nil {
		return ""
	}
	e, err := events.Unwrap(one)
	if err != nil {
		return ""
	}
	of, ok := e.(interface {
		GetSession() *events.SessionMetadata
	})
	if !ok {
		return ""
	}
	return of.GetSession().GetSessionId()
}

func (c *copier) publish(ctx context.Context, one []byte, index int64) error {
	next := c.stream.Next()
	if c.j.cmd.Renumber && index != next {
		var err error
		if one, err = renumber(one, next); err != nil {
			return c.bad(err)
		}
		index = next
	}
	if index < next {
		return c.bad(fmt.Errorf("index %d is not above %d, the last (--renumber numbers anew)", index, next-1))
	}
	if err := c.stream.Append(ctx, one, index); err != nil {
		if c.stream.Err() != nil || ctx.Err() != nil {
			return err // not about this event
		}
		return c.bad(err)
	}
	c.gaps += index - next
	c.count++
	return nil
}

// bad says which event an error is about.
func (c *copier) bad(err error) error {
	if f, ok := c.feed.(*jsonFeed); ok {
		return &cast.LineError{Line: f.lines.Number(), Err: err}
	}
	return fmt.Errorf("event %d of the file: %w", c.count+c.left+1, err)
}

// renumber gives an event another index. One of an unknown case has nowhere that
// is known to put it.
func renumber(oneof []byte, index int64) ([]byte, error) {
	one, err := events.Unmarshal(oneof)
	if err != nil {
		return nil, err
	}
	e, err := events.Unwrap(one)
	if err != nil {
		return nil, fmt.Errorf("renumber: %w", err)
	}
	if md := e.GetMetadata(); md != nil {
		md.Index = index
		return events.Marshal(one)
	}
	return nil, errors.New("renumber: the event has no metadata")
}

// keepAlive says now and then that the session lives, until ctx is done. What
// goes wrong the next event finds out too.
func keepAlive(ctx context.Context, s *bus.Stream) {
	t := time.NewTicker(alive)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = s.Alive(ctx)
		}
	}
}
