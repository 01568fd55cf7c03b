package slicer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nuid"
	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/failpoint"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A sessionIO is what is under way for a session. A session that starts over gets
// a new one, and what still comes in for the old one is ignored.
type sessionIO struct {
	ctx    context.Context // of uploads; nil before the first
	cancel context.CancelFunc

	creating       bool
	id, key, nonce string // an upload whose base record is to be written
	base           bool   // this owner's base record is acknowledged
	next           int    // number of the next part
	flight         int    // parts on their way or stored, and not committed

	loading     bool // the open slice is being read back
	asking      bool // whether the session was recorded before
	patient     bool // and it is not opened before that is known
	askedAt     time.Time
	aside       bool     // it is not known for so long that the session was set aside
	queue       []*input // messages that wait for it
	queuedBytes int64

	gone     bool              // the store has forgotten the upload
	full     bool              // or it has no numbers left for parts
	damaged  bool              // or a checkpoint cannot be read
	checking bool              // whether the bus still has the session is being asked
	anew     *bus.SessionState // the state that the next base record starts over from
	lost     string            // why parts are lost for good

	rew *rewind // the session's messages are being read again
}

func (s *session) needIO() *sessionIO {
	if s.io == nil {
		s.io = &sessionIO{}
	}
	return s.io
}

// stop ends the uploads under way.
func (x *sessionIO) stop() {
	if x.cancel != nil {
		x.cancel()
	}
}

// errChain is a chain of checkpoints that does not add up.
var errChain = errors.New("checkpoint chain is broken")

// fullSlices is how many slices beyond those on their way may wait in memory
// before the reading stops.
const fullSlices = 2

// target is the size at which the open slice is closed: that of the number which
// it will have.
func (p *partition) target(s *session) int64 {
	n := 0
	for _, c := range s.closed {
		if c.number == 0 {
			n++
		}
	}
	if s.io != nil && s.io.base {
		return p.cfg.partTarget(s.io.next + n)
	}
	return p.cfg.partTarget(newBase(s.dur.Upload) + n)
}

// advance starts whatever the session's closed slices are ready for.
func (p *partition) advance(s *session) {
	if len(s.closed) == 0 {
		p.setFull(s, false)
		return
	}
	x := s.needIO()
	if x.gone || x.lost != "" {
		return
	}
	if c := s.closed[0]; c.stored || (c.end != nil && !c.records()) {
		p.want(s)
	}
	if !x.base {
		if s.closed[0].records() {
			p.prepare(s)
		}
		p.setFull(s, len(s.closed) > fullSlices)
		return
	}
	u := s.dur.Upload
	top := max(u.Highest, u.Base-1) + u.Limit
	waiting := 0
	for _, c := range s.closed {
		if c.number != 0 || !c.records() {
			continue
		}
		if x.next > min(top, maxPartNumber) {
			waiting++
			continue
		}
		c.number = x.next
		x.next++
		x.flight++
		p.upload(s, c, u)
	}
	if waiting > 0 && x.flight == 0 && x.next > maxPartNumber {
		p.outOfNumbers(s)
		return
	}
	p.setFull(s, waiting > fullSlices)
}

// setFull says whether the session has so much waiting that reading must stop.
func (p *partition) setFull(s *session, full bool) {
	if full != s.isFull {
		s.isFull = full
		if full {
			p.full++
		} else {
			p.full--
		}
	}
}

// prepare gets the session an upload: that of the owner before, or a new one. Its
// base record is next.
func (p *partition) prepare(s *session) {
	x := s.needIO()
	if x.creating || x.id != "" {
		p.want(s)
		return
	}
	if u := s.dur.Upload; u != nil && x.anew == nil {
		x.id, x.key, x.nonce = u.ID, u.Key, u.Nonce
		p.want(s)
		return
	}
	x.creating = true
	sid, trace := s.live.SID, s.live.Trace
	key, nonce := p.deps.Store.Key(sid+".tar"), nuid.Next()
	p.storeDo(func(t *task) {
		ctx, done := p.begin(p.ctx, sid, trace, "create upload")
		var id string
		err := p.keepTrying(ctx, p.smallSlots, "create upload", func(ctx context.Context) (err error) {
			// A crash before the base record leaves an upload without parts.
			failpoint.Hit("slicer/create-upload/before")
			id, err = p.deps.Store.CreateUpload(ctx, key, map[string]string{bus.MetaNonce: nonce, bus.MetaSession: sid})
			failpoint.Hit("slicer/create-upload/after")
			return p.inStore(err)
		}, t.failed)
		done(err)
		if err != nil {
			return
		}
		p.post(func() {
			if s.io != x {
				return
			}
			x.creating, x.id, x.key, x.nonce = false, id, key, nonce
			p.want(s)
		})
	})
}

// upload puts one closed slice into the store, for as long as it takes.
func (p *partition) upload(s *session, c *closedSlice, u *bus.UploadState) {
	x := s.io
	if x.cancel == nil {
		var ctx context.Context
		ctx, x.cancel = context.WithCancel(p.ctx)
		x.ctx = ctx
	}
	key, id, sid, n := u.Key, u.ID, s.live.SID, c.number
	alive, trace, records := x.ctx, s.live.Trace, c.meta.Records
	buf, dropped, chain := c.buf, c.dropped, c.chain
	c.buf = nil
	p.storeDo(func(t *task) {
		ctx, done := p.begin(alive, sid, trace, "upload part", attribute.Int("tapedeck.part", n), attribute.Int64("tapedeck.events", records))
		body, sum, old, err := p.finish(ctx, buf, chain, dropped)
		var part s3store.Part
		if err == nil {
			began := time.Now()
			err = p.keepTrying(ctx, p.slots, "put part", func(ctx context.Context) (err error) {
				// A crash here leaves a part that no record lists.
				failpoint.Hit("slicer/put-part/before")
				part, err = p.deps.Store.PutPart(ctx, key, id, n, body)
				failpoint.Hit("slicer/put-part/after")
				return p.inStore(err)
			}, func() {
				t.failed()
				p.post(func() { c.failingSince(p.now) })
			})
			p.met.uploads.Record(p.ctx, time.Since(began).Seconds())
		}
		done(err)
		p.met.part(p.ctx, err)
		if err == nil {
			slicefmt.Recycle(body)
		}
		p.post(func() { p.uploaded(s, x, c, part, sum, old, err) })
	})
	p.log.Debug("part on its way", "session", sid, "part", n, "records", c.meta.Records)
}

func (c *closedSlice) failingSince(now time.Time) {
	if c.failing.IsZero() {
		c.failing = now
	}
}

// finish makes the bytes of a part. They are made once; a retry sends the same.
func (p *partition) finish(ctx context.Context, buf *slicefmt.Slice, chain uint64, dropped int64) ([]byte, slicefmt.Sum, []uint64, error) {
	var prefix []byte
	var old []uint64
	if ctx.Err() != nil {
		return nil, slicefmt.Sum{}, nil, ctx.Err()
	}
	if dropped > 0 {
		err := p.keepTrying(ctx, nil, "read checkpoints", func(ctx context.Context) (err error) {
			prefix, old, err = p.readChain(ctx, chain, dropped)
			return err
		}, nil)
		if err != nil {
			return nil, slicefmt.Sum{}, nil, err
		}
	}
	body, sum, err := buf.Finish(prefix)
	if err != nil {
		return nil, sum, nil, fmt.Errorf("%w: %w", errChain, err)
	}
	return body, sum, old, nil
}

// uploaded takes note of what became of a part.
func (p *partition) uploaded(s *session, x *sessionIO, c *closedSlice, part s3store.Part, sum slicefmt.Sum, old []uint64, err error) {
	if p.sessions[s.live.SID] != s || s.io != x || x.gone {
		return
	}
	if err != nil {
		p.log.ErrorContext(s.traced(p.ctx), "part cannot be uploaded", "session", s.live.SID, "part", c.number, "err", err)
		// What is not the upload's fault is its checkpoints': they would fail again.
		x.gone, x.damaged = true, !errors.Is(err, s3store.ErrUploadGone)
		p.want(s)
		return
	}
	c.stored, c.part, c.sum, c.held = true, part, sum, 0
	c.old = append(c.old, old...)
	c.failing = time.Time{}
	p.log.Debug("part stored", "session", s.live.SID, "part", c.number, "bytes", sum.Bytes)
	p.note(s)
	p.want(s)
}

// inStore takes note of whether the store answers.
func (p *partition) inStore(err error) error {
	p.store3.saw(err == nil || errors.Is(err, s3store.ErrUploadGone), time.Now())
	return err
}

// keepTrying calls try until it succeeds, with pauses that grow; there is no last
// try. It gives up only when ctx is done or when trying again can mend nothing:
// the upload or a checkpoint is gone. This is the one layer that retries without
// end. A slot of slots, if there are any, is held for each try, not for the pauses.
func (p *partition) keepTrying(ctx context.Context, slots chan struct{}, what string, try func(ctx context.Context) error, failed func()) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, p.cfg.RetryMax) {
		err := p.once(ctx, slots, try)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, s3store.ErrUploadGone), errors.Is(err, errChain), errors.Is(err, uploadlog.ErrNotFound):
			return err
		}
		if failed != nil {
			failed()
		}
		p.met.retries.Add(ctx, 1)
		p.log.Warn("trying again", "what", what, "after", wait, "err", err)
		select {
		case <-time.After(wait + rand.N(wait/4+1)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// once is one try, with its time limit, in one of slots.
func (p *partition) once(ctx context.Context, slots chan struct{}, try func(ctx context.Context) error) error {
	if slots != nil {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.UploadTimeout)
	defer cancel()
	return try(ctx)
}

// status tells the producer how far S3 has the session: nothing yet with the
// first, then the last index of the newest committed part.
func (p *partition) status(s *session, first bool) {
	u := s.dur.Upload
	if u == nil {
		return
	}
	last := s.dur.Next - 1
	if len(s.dur.Slices) > 0 {
		last = s.dur.Slices[0].First - 1
	}
	if first || u.Parts == 0 {
		last = -1
	}
	b, err := proto.Marshal(&events.StreamStatus{UploadId: u.ID, LastEventIndex: last, LastUploadTime: timestamppb.New(p.now)})
	if err == nil {
		// Best effort: the log has it, and the next commit says it again.
		_ = p.deps.Conn.NATS().Publish(bus.StatusSubject(s.dur.Node, s.dur.SID), b)
	}
}

// encode makes the payload of a record; these types cannot fail to encode.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}
