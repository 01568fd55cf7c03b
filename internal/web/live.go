package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

// catchUps is how many viewers of live sessions may read what is not on the tape
// any more at a time; others wait.
const catchUps = 8

// An sse is an answer of server-sent events.
type sse struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
}

func newSSE(w http.ResponseWriter) *sse {
	h := w.Header()
	h.Set("Content-Type", typeSSE)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that gather answers would hold it back
	w.WriteHeader(http.StatusOK)
	e := &sse{w, http.NewResponseController(w)}
	_, _ = w.Write([]byte(": hello\n\n")) // the viewer learns that it is connected before anything happens
	_ = e.flush()
	return e
}

func (e *sse) send(event string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", event, data); err != nil {
		return err
	}
	return e.flush()
}

func (e *sse) flush() error { return e.ctl.Flush() }

// lastGasp is how long a viewer that is dropped may take to hear why.
const lastGasp = 500 * time.Millisecond

// drop tells why a viewer is dropped, if it still takes anything.
func (e *sse) drop(reason string) {
	if p, ok := e.w.(*patient); ok {
		p.stall = lastGasp
	}
	_ = e.send("dropped", map[string]string{"reason": reason})
}

// A live view is one viewer of a session that may still run.
type liveView struct {
	s       *Server
	v       *view
	out     *sse
	zero    time.Time
	desktop bool
	next    int64 // index of the event that is wanted next
}

func (s *Server) live(w http.ResponseWriter, r *http.Request, v *view) {
	p := params{q: r.URL.Query()}
	from := p.number("from_index", 0, 1<<40)
	if p.err != nil {
		s.fail(w, p.err)
		return
	}
	if id, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64); err == nil && id >= from {
		from = id + 1
	}
	rec, done, err := s.read(r.Context(), v)
	if err != nil {
		s.fail(w, err)
		return
	}
	running := rec.FromBus()
	zero, err := s.start(r.Context(), v, rec)
	done()
	if err == nil {
		err = s.looked(r.Context(), v, lookLive)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	lv := &liveView{s: s, v: v, out: newSSE(w), zero: zero, desktop: v.Kind == "desktop", next: from}
	if running {
		err = lv.follow(r.Context())
	} else if err = lv.catchUp(r.Context(), 0); err == nil {
		err = errOver
	}
	lv.finish(r.Context(), err)
}

// finish says how it ended.
func (lv *liveView) finish(ctx context.Context, err error) {
	var dropped *dropError
	switch {
	case errors.Is(err, errOver):
		_ = lv.out.send("end", map[string]int64{"index": lv.next})
	case errors.Is(context.Cause(ctx), errRevoked):
		lv.s.log.Info("viewer is dropped", "session", lv.v.Session.Session, "who", lv.v.who.Name, "reason", errRevoked)
		lv.out.drop(revokedText)
	case errors.As(err, &dropped):
		lv.s.log.Info("viewer is dropped", "session", lv.v.Session.Session, "who", lv.v.who.Name, "reason", dropped.reason)
		lv.out.drop(dropped.reason)
	case ctx.Err() != nil: // it has left
	default:
		lv.s.log.Info("viewer is dropped", "session", lv.v.Session.Session, "who", lv.v.who.Name, "err", err)
		lv.out.drop("The server could not go on; its log says why.")
	}
}

// revokedText is what a viewer is told whose token was taken away.
const revokedText = "Your token is no longer good."

// A dropError ends a live view with a reason that the viewer is told.
type dropError struct{ reason string }

func (e *dropError) Error() string { return e.reason }

// follow sends what is there and what comes, until the session ends.
func (lv *liveView) follow(ctx context.Context) error {
	t, leave := lv.s.tapes.join(lv.v.Session.Session, lv.zero, lv.desktop)
	defer leave()
	pos, err := lv.aboard(ctx, t)
	if err != nil {
		return err
	}
	tick := time.NewTicker(lv.s.cfg.Recheck)
	defer tick.Stop()
	for {
		b := t.read(pos)
		if b.behind && b.old {
			if pos, err = lv.aboard(ctx, t); err != nil {
				return err
			}
			continue
		}
		if b.behind {
			return &dropError{"You did not keep up with the session. Reconnect to go on."}
		}
		if err := lv.sendAll(b.frames); err != nil {
			return err
		}
		pos = b.next
		if b.over && b.err == nil {
			return errOver
		}
		if b.over && lv.s.stop.Err() == nil {
			return b.err
		}
		if err := ctx.Err(); err != nil { // among much to send, it might not be seen for long
			return err
		}
		if err := lv.wait(ctx, b, tick); err != nil {
			return err
		}
	}
}

// wait returns when there may be more to send.
func (lv *liveView) wait(ctx context.Context, b batch, tick *time.Ticker) error {
	if len(b.frames) > 0 {
		// What comes meanwhile is sent together: a thousand viewers take a
		// thousand writes for each of these rounds.
		select {
		case <-time.After(lv.pace()):
		case <-ctx.Done():
		}
		if len(b.frames) == batchFrames {
			return ctx.Err()
		}
	}
	select {
	case <-b.more:
		return nil
	case <-tick.C:
		return lv.idle()
	case <-lv.s.stop.Done():
		return &dropError{"The server is stopping. Reconnect in a moment."}
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (lv *liveView) idle() error {
	if _, err := lv.out.w.Write([]byte(": still here\n\n")); err != nil {
		return err
	}
	return lv.out.flush()
}

// pace is how long frames are gathered: 10 ms, and more with many viewers.
func (lv *liveView) pace() time.Duration {
	return 10*time.Millisecond + min(time.Duration(lv.s.tapes.viewers())*100*time.Microsecond, 200*time.Millisecond)
}

// aboard brings the viewer to where the tape has what it wants.
func (lv *liveView) aboard(ctx context.Context, t *tape) (pos int64, err error) {
	for {
		pos, upTo, ok := t.seek(lv.next)
		if ok {
			return pos, nil
		}
		select {
		case lv.s.catchUps <- struct{}{}:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		err := lv.catchUp(ctx, upTo)
		<-lv.s.catchUps
		if err != nil {
			return 0, err
		}
		lv.next = max(lv.next, upTo)
	}
}

// catchUp sends the events below an index from where they are kept; 0 for all.
func (lv *liveView) catchUp(ctx context.Context, upTo int64) error {
	rec, done, err := lv.s.read(ctx, lv.v)
	if err != nil {
		return err
	}
	defer done()
	f := framer{liner: liner{clock: clock{zero: lv.zero}}, desktop: lv.desktop}
	rd := &reading{rec: rec, span: span{fromIndex: lv.next, toIndex: -1, toMS: -1}}
	rd.prime()
	g := recording.Range{FromIndex: rd.span.fromIndex, ToIndex: upTo}
	for r, err := range rec.Records(ctx, g) {
		if err != nil && damaged(err) {
			return lv.out.send("damaged", map[string]string{"error": oneLine(err.Error())})
		}
		if err != nil {
			return err
		}
		data, err := f.frame(r)
		if err != nil {
			return err
		}
		if data == nil || r.Index < lv.next {
			continue
		}
		if err := errors.Join(ctx.Err(), lv.sendAll([]frame{{r.Index, data}})); err != nil {
			return err
		}
	}
	return nil
}

// sendAll sends frames and what is buffered.
func (lv *liveView) sendAll(frames []frame) error {
	if len(frames) == 0 {
		return nil
	}
	for _, f := range frames {
		if f.index < lv.next {
			continue
		}
		if _, err := lv.out.w.Write(f.data); err != nil {
			return err
		}
		lv.next = f.index + 1
	}
	return lv.out.flush()
}

// changeLimit is how many changed sessions are read at a time.
const changeLimit = 200

// changePoll is how often the list is asked whether it has changed. It is one
// number to read, and it sees what other processes write too.
const changePoll = 250 * time.Millisecond

// revs knows the list's newest revision for all who follow it, so that a thousand of
// them ask for it no more often than one.
type revs struct {
	mu    sync.Mutex
	rev   int64
	asked time.Time
}

func (r *revs) newest(ctx context.Context, ix *sessions.Index) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < changePoll*4/5 {
		return r.rev, nil
	}
	rev, err := ix.Rev(ctx)
	if err == nil {
		r.rev, r.asked = rev, time.Now()
	}
	return r.rev, err
}

// changes sends sessions as they begin, change and end.
func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	may := who(r.Context())
	since, err := s.index.Rev(r.Context())
	if err != nil {
		s.fail(w, err)
		return
	}
	if id, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64); err == nil && id >= 0 && id < since {
		since = id
	}
	if r.Method == http.MethodHead {
		return
	}
	out := newSSE(w)
	err = s.sendChanges(r.Context(), out, may, since)
	switch {
	case errors.Is(context.Cause(r.Context()), errRevoked):
		out.drop(revokedText)
	case err != nil && r.Context().Err() == nil:
		out.drop(err.Error())
	}
}

func (s *Server) sendChanges(ctx context.Context, out *sse, may token.Token, since int64) error {
	poll, tick := time.NewTicker(changePoll), time.NewTicker(s.cfg.Recheck)
	defer poll.Stop()
	defer tick.Stop()
	for {
		var changed []sessions.Session
		newest, err := s.revs.newest(ctx, s.index)
		if err == nil && newest > since {
			changed, since, err = s.index.Changes(ctx, may, since, changeLimit)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("changes cannot be read", "err", err)
			return &dropError{"The list of sessions cannot be read now."}
		}
		for _, c := range changed {
			data, err := json.Marshal(c)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(out.w, "id: %d\nevent: session\ndata: %s\n\n", c.Rev, data); err != nil {
				return err
			}
		}
		if len(changed) > 0 {
			if err := out.flush(); err != nil {
				return err
			}
			if len(changed) == changeLimit {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop.Done():
			return &dropError{"The server is stopping. Reconnect in a moment."}
		case <-tick.C:
			if _, err := out.w.Write([]byte(": still here\n\n")); err != nil || out.flush() != nil {
				return err
			}
		case <-poll.C:
		}
	}
}
