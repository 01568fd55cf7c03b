package accesslog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
)

// lazySave is how long what only says that less is to be done may stay out of
// the ledger: a crash before costs sending the batch again.
const lazySave = 250 * time.Millisecond

// A batch is a closed batch that is not done.
type batch struct {
	entry
	out      *Batch // nil when done
	recorded bool   // it is in the ledger and may be sent
	sending  bool
}

// A held message is one whose acknowledgement waits for batches.
type heldMessage struct {
	seq   uint64
	reply string
}

// A shift is a lane's work between a claim and its end. Its fields belong to the
// goroutine of loop, those of the first group excepted.
type shift struct {
	*lane
	wg       sync.WaitGroup
	arrivals chan arrival
	saved    chan error  // of the one write under way
	sent     chan *batch // the sink has it
	readFrom atomic.Uint64
	created  time.Time // of the stream
	w        *writer   // of the write under way

	next  position // of the next record to read
	from  position // where build begins; all before is in open or done
	build builder
	hour  time.Time // of build's first record
	named string    // build's id, if its item has one
	since time.Time // when build got its first record, or replay was last looked at
	plan  []entry   // batches of the ledger that are to be built again, first of all
	open  []*batch
	held  []heldMessage // by seq

	sending  int
	asked    []chan struct{} // who waits for a write that begins from now on
	saving   []*batch        // what the write under way records
	answers  []chan struct{} // whom it answers
	isSaving bool
	dirty    bool // the ledger is behind
	lastSave time.Time
	stopping bool
}

// loop ends with nil when ctx is done and what was read is delivered or the
// drain time over.
func (s *shift) loop(ctx, hard context.Context, stopReading func()) error {
	tick := time.NewTicker(min(lazySave, max(s.flush/4, 5*time.Millisecond)))
	defer tick.Stop()
	s.lastSave, s.since = time.Now(), time.Now()
	stop := ctx.Done()
	var drained <-chan time.Time
	for {
		s.save(hard)
		s.send(hard)
		if s.stopping && len(s.open) == 0 && !s.isSaving {
			return s.free(hard)
		}
		var in <-chan arrival
		if len(s.open) < s.maxOpen && !s.stopping {
			in = s.arrivals
		}
		var err error
		select {
		case a := <-in:
			err = s.take(a)
		case err = <-s.saved:
			s.onSaved(err)
		case b := <-s.sent:
			s.sending--
			s.settle(b)
		case <-tick.C:
			err = s.onTick(hard)
		case <-stop:
			stop, s.stopping = nil, true
			stopReading()
			drained = time.After(s.conf.Drain)
			if len(s.plan) == 0 && s.build.count() > 0 {
				err = s.closeAt(s.next)
			}
		case <-drained:
			s.log.Warn("told to stop; batches are left for later", "batches", len(s.open))
			return s.free(hard)
		case <-hard.Done():
			return context.Cause(hard)
		}
		if err != nil {
			return err
		}
	}
}

// take adds the records of a message to batches. When it returns, next is at the
// beginning of a message.
func (s *shift) take(a arrival) error {
	if a.ours != nil {
		s.asked = append(s.asked, a.ours)
		return nil
	}
	if a.seq < s.next.Seq { // again, after the consumer was renewed or the bus lost patience
		if a.seq < s.cursor().Seq {
			s.ack(a.reply)
		}
		return nil
	}
	i := 0
	if a.seq == s.next.Seq {
		i = min(s.next.Off, len(a.items))
	}
	hour, wanted := a.at.UTC().Truncate(time.Hour), false
	for ; i < len(a.items); i++ {
		it := &a.items[i]
		s.next = position{a.seq, i}
		if err := s.closeBefore(it, hour); err != nil {
			return err
		}
		if !s.wants(it) {
			continue
		}
		wanted = true
		if err := s.add(it, hour); err != nil {
			return err
		}
	}
	s.next = position{Seq: a.seq + 1}
	if wanted {
		s.held = append(s.held, heldMessage{a.seq, a.reply})
	} else {
		s.ack(a.reply)
	}
	if err := s.closeBefore(nil, hour); err != nil {
		return err
	}
	s.moved()
	return nil
}

// closeBefore closes the batches that end before it, which is at next; nil stands
// for the end of a message.
func (s *shift) closeBefore(it *item, hour time.Time) error {
	for len(s.plan) > 0 && !s.next.before(s.plan[0].To) {
		if err := s.closeAt(s.plan[0].To); err != nil {
			return err
		}
	}
	if len(s.plan) > 0 || s.build.count() == 0 {
		return nil
	}
	tooMany := it == nil && len(s.held) > s.maxPending/2
	if s.build.full(it) || !hour.Equal(s.hour) || tooMany {
		return s.closeAt(s.next)
	}
	return nil
}

// wants says whether the sink gets the record. What is built again is what it
// was, whatever the configuration is now.
func (s *shift) wants(it *item) bool {
	all := s.cfg.All || s.cfg.Kind == KindWebhook
	if len(s.plan) > 0 {
		all = s.plan[0].All
	}
	return all || it.rec.Ended()
}

func (s *shift) add(it *item, hour time.Time) error {
	if s.build.count() == 0 {
		s.hour, s.since, s.named = hour, time.Now(), it.id
	}
	return s.build.add(it)
}

// closeAt closes the batch that is being built. The next begins at to.
func (s *shift) closeAt(to position) error {
	b := &batch{entry: entry{From: s.from, To: to, All: s.cfg.All || s.cfg.Kind == KindWebhook, Hour: s.hour, Records: s.build.count()}}
	var body []byte
	if b.Records > 0 {
		var err error
		if body, err = s.build.finish(); err != nil {
			return err
		}
		b.Sum = sum(body)
	}
	if len(s.plan) > 0 {
		s.again(b)
	} else if b.ID = s.named; b.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("name a batch: %w", err)
		}
		b.ID = id.String()
	}
	b.out = &Batch{ID: b.ID, Hour: b.Hour, Records: b.Records, body: body}
	s.from, s.since = to, time.Now()
	s.open = append(s.open, b)
	if b.Done {
		s.settle(b)
	}
	return nil
}

// again makes b the batch that the ledger lists first.
func (s *shift) again(b *batch) {
	was := s.plan[0]
	s.plan = s.plan[1:]
	if b.Records != was.Records {
		// A sink that has the batch has all of it, and drops this one.
		s.log.Error("batch lacks records that have left the stream", "batch", was.ID, "records", b.Records, "had", was.Records)
	} else if b.Sum != was.Sum {
		s.log.Warn("batch is not the same bytes as before", "batch", was.ID, "records", b.Records)
	}
	b.ID, b.Hour, b.Done, b.recorded = was.ID, was.Hour, was.Done || b.Records == 0, true
}

// settle is called when the sink has b. It acknowledges the messages of which
// the sink now has everything.
func (s *shift) settle(b *batch) {
	b.Done, b.out = true, nil
	for len(s.open) > 0 && s.open[0].Done {
		s.open[0] = nil
		s.open = s.open[1:]
	}
	s.moved()
}

// moved lets go of what is before the cursor.
func (s *shift) moved() {
	if len(s.open) == 0 && len(s.plan) == 0 && s.build.count() == 0 {
		s.from = s.next
	}
	cursor := s.cursor()
	s.readFrom.Store(cursor.Seq)
	n := 0
	for ; n < len(s.held) && s.held[n].seq < cursor.Seq; n++ {
		s.ack(s.held[n].reply)
	}
	s.held = s.held[n:]
	s.dirty = true
}

// cursor is up to where the sink has everything.
func (s *shift) cursor() position {
	if len(s.open) > 0 {
		return s.open[0].From
	}
	return s.from
}

// ack tells the bus. If that is lost the message comes again and is acknowledged
// then; where to go on is in the ledger.
func (s *shift) ack(reply string) {
	_ = s.deps.Conn.NATS().Publish(reply, []byte("+ACK"))
}

// send starts what may be sent. A crash after this leaves batches in the ledger
// that the sink may or may not have.
func (s *shift) send(ctx context.Context) {
	for _, b := range s.open {
		if s.sending >= s.cfg.InFlight {
			return
		}
		if !b.recorded || b.sending || b.Done {
			continue
		}
		b.sending = true
		s.sending++
		out := b.out
		s.wg.Go(func() {
			if s.feed.deliver(ctx, out, s.conf.RetryMin) != nil {
				return
			}
			select {
			case s.sent <- b:
			case <-ctx.Done():
			}
		})
	}
}

// save starts to write the ledger if there is a batch to record, or if it has
// been behind for a while. One write is under way at a time; meanwhile the next
// gathers. A crash before it is written leaves nothing that was sent.
func (s *shift) save(ctx context.Context) {
	if s.isSaving || s.stopping && len(s.open) == 0 {
		return
	}
	urgent := len(s.asked) > 0
	for _, b := range s.open {
		urgent = urgent || !b.recorded
	}
	silent := time.Since(s.lastSave)
	if !urgent && (!s.dirty || silent < lazySave) && silent < s.conf.Takeover/3 {
		return
	}
	led := s.snapshot()
	s.saving = append(s.saving[:0], s.open...)
	s.answers, s.asked = s.asked, nil
	s.isSaving, s.dirty, s.lastSave = true, false, time.Now()
	s.wg.Go(func() { s.saved <- s.w.write(ctx, led, false) })
}

func (s *shift) onSaved(err error) {
	s.isSaving = false
	if err != nil {
		return
	}
	for _, b := range s.saving {
		b.recorded = true
	}
	clear(s.saving)
	for _, ours := range s.answers {
		close(ours)
	}
	s.answers = nil
}

func (s *shift) snapshot() ledger {
	led := ledger{Stream: s.created, Cursor: s.cursor()}
	for _, b := range s.open {
		led.Open = append(led.Open, b.entry)
	}
	led.Open = append(led.Open, s.plan...)
	return led
}

// free lets go of the sink, so that another process need not wait.
func (s *shift) free(hard context.Context) error {
	ctx, cancel := context.WithTimeout(hard, 5*time.Second)
	defer cancel()
	if s.isSaving { // the drain time is over
		select {
		case err := <-s.saved:
			s.onSaved(err)
		case <-ctx.Done():
			return nil
		}
	}
	if err := s.w.write(ctx, s.snapshot(), true); err != nil && !errors.Is(err, errFenced) && hard.Err() == nil {
		s.log.Warn("sink not let go", "err", err)
	}
	return nil
}

// onTick closes a batch that has waited long enough.
func (s *shift) onTick(ctx context.Context) error {
	if time.Since(s.since) < s.flush || s.stopping {
		return nil
	}
	if len(s.plan) > 0 {
		s.since = time.Now()
		return s.closeExpired(ctx)
	}
	if s.build.count() == 0 {
		return nil
	}
	return s.closeAt(s.next)
}

// closeExpired closes a batch of the ledger whose last messages are gone from
// the stream, so that no message comes to end it.
func (s *shift) closeExpired(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := s.deps.Conn.JetStream().Stream(ctx, s.src.stream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", s.src.stream, err)
	}
	m, err := stream.GetMsg(ctx, s.next.Seq, jetstream.WithGetMsgSubject(s.src.filter))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return fmt.Errorf("read message %d or the next of %s: %w", s.next.Seq, s.src.stream, err)
	case (position{Seq: m.Sequence}).before(s.plan[0].To):
		return nil // it will come
	}
	to := s.plan[0].To
	if s.next.before(to) {
		s.next = to
	}
	return s.closeAt(to)
}
