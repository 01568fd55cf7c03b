package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// What bounds live sessions.
const (
	tapeBytes  = 8 << 20          // kept of one session for all its viewers
	tapeLinger = 10 * time.Second // how long one without viewers is kept
)

// A frame is one message to the viewers of a live session, as it is sent.
type frame struct {
	index int64
	data  []byte
}

// A tape is the newest of a live session, read once from the bus for all who
// watch. Whoever writes to it never waits: a viewer that is too slow finds that
// what it wants is gone.
type tape struct {
	mu      sync.Mutex
	frames  []frame
	first   int64 // sequence number of frames[0]
	lost    int64 // index of the newest frame that has gone; -1 if none has
	bytes   int
	more    chan struct{} // closed when there is more, and replaced
	old     bool          // it is still reading what was there before it began
	over    bool
	err     error // why it is over, nil if the session is
	viewers int
	stop    context.CancelFunc
}

func newTape(stop context.CancelFunc) *tape {
	return &tape{lost: -1, more: make(chan struct{}), stop: stop}
}

// add appends a frame, and lets go of the oldest if there are too many bytes. old
// says that the event was there before the tape began.
func (t *tape) add(f frame, old bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.old = old
	t.frames = append(t.frames, f)
	t.bytes += len(f.data)
	gone := 0
	for t.bytes > tapeBytes && gone < len(t.frames)-1 {
		t.bytes -= len(t.frames[gone].data)
		t.lost = t.frames[gone].index
		t.frames[gone] = frame{}
		gone++
	}
	t.frames, t.first = t.frames[gone:], t.first+int64(gone)
	close(t.more)
	t.more = make(chan struct{})
}

func (t *tape) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over, t.err = true, err
	close(t.more)
	t.more = make(chan struct{})
}

// seek is where on the tape the events from index on begin. If they begin before
// what is left of it, ok is false and upTo is the first index that it has in full.
func (t *tape) seek(index int64) (pos, upTo int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if index <= t.lost {
		return 0, t.lost + 1, false
	}
	n := sort.Search(len(t.frames), func(i int) bool { return t.frames[i].index >= index })
	return t.first + int64(n), 0, true
}

// A batch is what came on a tape since a viewer looked.
type batch struct {
	frames []frame
	next   int64         // where to look next
	behind bool          // what the viewer wants has gone
	old    bool          // and it is not the viewer that is slow: what was there before came in a rush
	more   chan struct{} // closed when there is more
	over   bool          // nothing will come after the frames
	err    error
}

// batchFrames is the most frames that a viewer takes at a time.
const batchFrames = 1000

func (t *tape) read(pos int64) batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if pos < t.first {
		return batch{behind: true, old: t.old}
	}
	n := min(int(pos-t.first), len(t.frames))
	frames := t.frames[n:min(len(t.frames), n+batchFrames)]
	b := batch{frames: append([]frame(nil), frames...), next: pos + int64(len(frames)), more: t.more, err: t.err}
	b.over = t.over && b.next == t.first+int64(len(t.frames))
	return b
}

// tapes are the live sessions that somebody watches.
type tapes struct {
	lib  *recording.Library
	log  *slog.Logger
	ctx  context.Context // done when the server stops
	done sync.WaitGroup

	mu    sync.Mutex
	all   map[string]*tape
	count int // viewers of all of them
}

func (ts *tapes) viewers() int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.count
}

// join is the tape of a session for one more viewer, who calls leave at the end.
// zero is the time of the session's first event.
func (ts *tapes) join(sid string, zero time.Time, desktop bool) (t *tape, leave func()) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, ok := ts.all[sid]
	if !ok {
		ctx, stop := context.WithCancel(ts.ctx)
		t = newTape(stop)
		ts.all[sid] = t
		ts.done.Go(func() { ts.run(ctx, sid, t, zero, desktop) })
	}
	t.mu.Lock()
	t.viewers++
	t.mu.Unlock()
	ts.count++
	return t, func() { ts.leave(sid, t) }
}

func (ts *tapes) leave(sid string, t *tape) {
	ts.mu.Lock()
	ts.count--
	ts.mu.Unlock()
	t.mu.Lock()
	t.viewers--
	last := t.viewers == 0
	t.mu.Unlock()
	if !last {
		return
	}
	// A viewer who reloads the page finds it still running.
	time.AfterFunc(tapeLinger, func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.viewers == 0 {
			t.stop()
			if ts.all[sid] == t {
				delete(ts.all, sid)
			}
		}
	})
}

// run reads the session onto its tape until it ends or nobody watches.
func (ts *tapes) run(ctx context.Context, sid string, t *tape, zero time.Time, desktop bool) {
	err := ts.copy(ctx, sid, t, zero, desktop)
	if err != nil && ctx.Err() == nil {
		ts.log.Warn("live view ended", "session", sid, "err", err)
	}
	t.end(err)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.all[sid] == t {
		delete(ts.all, sid)
	}
	t.stop()
}

func (ts *tapes) copy(ctx context.Context, sid string, t *tape, zero time.Time, desktop bool) error {
	rec, err := ts.lib.Follow(ctx, sid)
	if err != nil {
		return err
	}
	defer func() { _ = rec.Close() }()
	began := time.Now()
	f := framer{liner: liner{clock: clock{zero: zero}}, desktop: desktop}
	for r, err := range rec.Records(ctx, recording.Range{}) {
		if err != nil {
			return err
		}
		data, err := f.frame(r)
		if err != nil {
			return err
		}
		if data != nil {
			t.add(frame{r.Index, data}, r.Time().Before(began))
		}
	}
	return ctx.Err()
}

// A framer makes the messages to viewers of records in their order.
type framer struct {
	liner   liner
	desktop bool
	buf     []byte
}

// frame is the message for a record, nil if it has none. It is the caller's.
func (f *framer) frame(rec slicefmt.Record) ([]byte, error) {
	var err error
	event := "event"
	switch rec.Case {
	case casePrint, caseResize:
		event = "output"
		f.buf, err = f.liner.line(f.buf[:0], rec)
	case caseDesktop:
		event = "desktop"
		var raw []byte
		if raw, err = desktopRecord(nil, f.liner.clock.at(rec.Time()), rec); err == nil {
			f.buf = append(f.buf[:0], base64Line(raw)...)
		}
	default:
		f.liner.begun = true
		f.buf, err = eventLine(f.buf[:0], f.liner.clock.at(rec.Time()), rec)
	}
	if err != nil || len(f.buf) == 0 {
		return nil, err
	}
	return fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", rec.Index, event, f.buf), nil
}

// errOver: the session has ended, and all of it has been sent.
var errOver = errors.New("the session has ended")
