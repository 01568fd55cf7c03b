package uploadlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A Session is the newest that the log says of one session.
type Session struct {
	State bus.SessionState
	Kind  string // of the newest record
	Seq   uint64 // of the newest record, log or checkpoint
}

// An Ended is what an owner needs of a session that takes nothing more.
type Ended struct {
	Kind string // ended, completed, notified or parts-lost
	Seq  uint64 // of the newest record
	Next int64  // every event below it was recorded
	// StreamSeq is the newest message that was taken; later ones are late.
	StreamSeq uint64
	Events    int64
	Node      string
	Writer    string
}

// A Loaded is everything that is known of a partition when its owner takes it over.
type Loaded struct {
	Cursor    bus.Cursor
	HasCursor bool
	Sessions  map[string]Session // by session id: those that are open
	Ended     map[string]Ended   // by session id: those that are over
	Newer     []string           // session ids whose records a later version wrote: left alone
	Records   int                // that were read
}

// A newest is the newest record of a session so far, not yet decoded.
type newest struct {
	seq         uint64
	kind, state string
}

// Load reads the partition's state with one consumer, headers only. What it
// returns holds at least everything stored up to the owner's own lease record:
// the read is not over before that record has come by, which also shows that the
// replica that answers is not behind it. It fails with ErrFenced if a newer lease
// comes by, and with ErrNewer if lease or cursor are of a later version.
func (o *Owner) Load(ctx context.Context) (Loaded, error) {
	l, err := o.load(ctx)
	if err != nil {
		return Loaded{}, fmt.Errorf("load partition %d under fence %d: %w", o.p, o.fence, err)
	}
	return l, nil
}

// A reading is what was read of a partition so far.
type reading struct {
	o         *Owner
	records   int
	seen      bool // the owner's own lease has come by
	cursorSeq uint64
	found     map[string]newest // by session id
}

// take takes note of one record; they come in the order they were stored in.
func (r *reading) take(m jetstream.Msg, seq uint64) error {
	r.records++
	switch subject := m.Subject(); subject {
	case bus.LeaseSubject(r.o.p):
		if seq > r.o.fence {
			return fmt.Errorf("%w: lease %d was stored", ErrFenced, seq)
		}
		r.seen = r.seen || seq == r.o.fence
	case bus.CursorSubject(r.o.p):
		r.cursorSeq = seq
	default:
		if sid := sessionOf(subject); sid != "" {
			h := m.Headers()
			r.found[sid] = newest{seq: seq, kind: h.Get(bus.HeaderKind), state: h.Get(bus.HeaderState)}
		}
	}
	return nil
}

// newestOfEach reads the newest record of each subject. Once the own lease has come
// by all records before it have; those after it are the completer's.
func (r *reading) newestOfEach(ctx context.Context) error {
	return consume(ctx, r.o.conn, false, silence, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{bus.UploadsFilter(r.o.p)},
		DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		HeadersOnly:    true,
	}, func(m jetstream.Msg, seq, pending uint64) (bool, error) {
		err := r.take(m, seq)
		return r.seen && pending == 0, err
	})
}

// sinceTheLease reads everything from the own lease on. A completer that shortens a
// session's log writes its last record anew and deletes the one before: if that was
// deleted before it came by, and the new one was not yet known to be pending, the
// session was in neither, and would be recorded a second time. The new one was stored
// before the other was deleted, so it is at or before what is the newest now.
func (r *reading) sinceTheLease(ctx context.Context) error {
	last, err := getLast(ctx, r.o.conn, bus.UploadsFilter(r.o.p))
	if err != nil || last.Seq == r.o.fence {
		return err
	}
	return consume(ctx, r.o.conn, false, catchUp, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{bus.UploadsFilter(r.o.p)},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.o.fence,
		HeadersOnly: true,
	}, func(m jetstream.Msg, seq, _ uint64) (bool, error) {
		return seq >= last.Seq, r.take(m, seq)
	})
}

// catchUp is how long sinceTheLease waits for a record that was deleted meanwhile.
const catchUp = 5 * time.Second

func (o *Owner) load(ctx context.Context) (Loaded, error) {
	out := Loaded{Sessions: map[string]Session{}, Ended: map[string]Ended{}}
	r := &reading{o: o, found: map[string]newest{}}
	err := r.newestOfEach(ctx)
	if err == nil {
		err = r.sinceTheLease(ctx)
	}
	if err != nil {
		return Loaded{}, err
	}
	out.Records = r.records
	if r.cursorSeq != 0 {
		c, seq, err := ReadCursor(ctx, o.conn, o.p)
		if err != nil {
			return Loaded{}, err
		}
		out.Cursor, out.HasCursor = c, true
		o.mu.Lock()
		o.cursorSeq = max(o.cursorSeq, seq)
		o.mu.Unlock()
	}
	return out, out.decode(r.found)
}

// decode sorts what was found into open and ended sessions. Decoding is a third of
// the work of a takeover, so all processors share it.
func (l *Loaded) decode(found map[string]newest) error {
	sids := slices.Collect(maps.Keys(found))
	states := make([]bus.SessionState, len(sids))
	errs := make([]error, len(sids))
	var wg sync.WaitGroup
	share := len(sids)/runtime.GOMAXPROCS(0) + 1
	for from := 0; from < len(sids); from += share {
		wg.Go(func() {
			for i := from; i < min(from+share, len(sids)); i++ {
				n := found[sids[i]]
				states[i], errs[i] = decodeState(n.seq, n.state)
			}
		})
	}
	wg.Wait()
	for i, sid := range sids {
		n, st, err := found[sid], states[i], errs[i]
		switch {
		case errors.Is(err, ErrNewer):
			l.Newer = append(l.Newer, sid)
		case err != nil:
			return err
		case st.Ended || over(n.kind):
			l.Ended[sid] = Ended{Kind: n.kind, Seq: n.seq, Next: st.Next, StreamSeq: st.StreamSeq, Events: st.Events,
				Node: strings.Clone(st.Node), Writer: strings.Clone(st.Writer)}
		default:
			l.Sessions[sid] = Session{State: st, Kind: n.kind, Seq: n.seq}
		}
	}
	return nil
}

// over says whether a session whose newest record is of this kind takes nothing more.
func over(kind string) bool {
	switch kind {
	case bus.KindEnded, bus.KindCompleted, bus.KindNotified, bus.KindLost:
		return true
	}
	return false
}

// decodeState reads the state that a record carries. The version is looked at
// first: of a later one nothing else is read.
func decodeState(seq uint64, state string) (bus.SessionState, error) {
	var st bus.SessionState
	err := json.Unmarshal([]byte(state), &st)
	if verr := stateVersion(state, st, err); verr != nil {
		return bus.SessionState{V: st.V}, fmt.Errorf("record %d: %w", seq, verr)
	}
	if err != nil {
		return bus.SessionState{}, fmt.Errorf("read the state of record %d (%d bytes): %w", seq, len(state), err)
	}
	return st, nil
}

// stateVersion finds the version of a state, also of one that a later version made
// such that it does not decode.
func stateVersion(state string, st bus.SessionState, err error) error {
	v := struct {
		V int `json:"v"`
	}{st.V}
	if err != nil {
		_ = json.Unmarshal([]byte(state), &v)
	}
	return checkVersion("state", v.V)
}

// sessionOf is the session id that a subject of the log ends in, or "".
func sessionOf(subject string) string {
	head, sid, ok := cutLast(subject)
	if !ok || (!strings.HasSuffix(head, ".s") && !strings.HasSuffix(head, ".c")) {
		return ""
	}
	return sid
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// silence is how long a consumer may bring nothing, though there should be more,
// until reading fails: a replica that does not catch up must not hold it for ever.
const silence = 30 * time.Second

// consume reads UPLOADS with one ordered consumer until fn says that it is done.
// fn is given the message's stream sequence and how many are still to come. With
// maybeNone it does not wait for a first message that is not there yet. It fails if
// nothing comes for as long as silence says.
//
// Next blocks, on a goroutine of its own and with a heartbeat: called with short
// waits it would never notice that its consumer is gone.
func consume(ctx context.Context, conn *bus.Conn, maybeNone bool, silence time.Duration, cfg jetstream.OrderedConsumerConfig,
	fn func(m jetstream.Msg, seq, pending uint64) (done bool, err error)) error {
	// A consumer that cannot be made anew is an error, rather than waited for
	// without end inside the client where ctx does not reach.
	cfg.MaxResetAttempts = 2
	cons, err := conn.JetStream().OrderedConsumer(ctx, bus.StreamUploads, cfg)
	if err != nil {
		return fmt.Errorf("create consumer on %s: %w", bus.StreamUploads, err)
	}
	defer remove(ctx, conn, cons)
	if info := cons.CachedInfo(); maybeNone && info != nil && info.NumPending == 0 {
		return nil
	}
	it, err := cons.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second), jetstream.PullMaxMessages(4096))
	if err != nil {
		return fmt.Errorf("consume %s: %w", bus.StreamUploads, err)
	}
	result := make(chan error, 1)
	var late atomic.Bool
	watch := time.AfterFunc(silence, func() { late.Store(true); it.Stop() })
	defer watch.Stop()
	go func() {
		for {
			m, err := it.Next()
			if err != nil && late.Load() {
				result <- fmt.Errorf("read %s: %w for %s", bus.StreamUploads, errSilent, silence)
				return
			}
			watch.Reset(silence)
			if err != nil {
				result <- fmt.Errorf("read %s: %w", bus.StreamUploads, err)
				return
			}
			meta, err := m.Metadata()
			if err != nil {
				result <- fmt.Errorf("read %s: %w", bus.StreamUploads, err)
				return
			}
			if done, err := fn(m, meta.Sequence.Stream, meta.NumPending); done || err != nil {
				result <- err
				return
			}
		}
	}()
	select {
	case err = <-result:
		it.Stop()
	case <-ctx.Done():
		it.Stop()
		// Once Next has ended fn is called no more.
		err = errors.Join(ctx.Err(), <-result)
	}
	return err
}

var errSilent = errors.New("its replica brings nothing more")

// remove deletes a consumer. It would go by itself, but only after minutes.
func remove(ctx context.Context, conn *bus.Conn, cons jetstream.Consumer) {
	info := cons.CachedInfo()
	if info == nil || !conn.NATS().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	_ = conn.JetStream().DeleteConsumer(ctx, bus.StreamUploads, info.Name)
}
