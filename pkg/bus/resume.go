package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Resume goes on with a session of node that an earlier writer left open, and
// says which index comes next. It publishes an alive message: from then on the
// bus refuses what the earlier writer may still have under way, and if that one
// still runs it gets an [ErrConflict].
//
// The next index is learned from the session's last message and from its upload
// log. A user that may not read the log can resume only while the bus has
// messages of the session; else the error wraps [ErrPermission] and the caller
// must know the index itself ([Publisher.OpenAt]).
//
// Errors: [ErrNoSession] if nothing was ever stored, [ErrEnded], [ErrVersion],
// and [ErrConflict] if the session belongs to another node or an earlier writer
// does not stop.
func (p *Publisher) Resume(ctx context.Context, node, sid string) (*Stream, int64, error) {
	return p.ResumeWith(ctx, node, sid, nil)
}

// ResumeWith is Resume for a writer that leaves itself notes ([Stream.SetNote]).
// recall gets the session's last message, which is the zero Message if the bus
// has none any more, and returns what makes the notes from then on, the one of
// the alive message included. It may be called several times, and the last
// counts; its error ends the resuming. A nil recall makes no notes.
func (p *Publisher) ResumeWith(ctx context.Context, node, sid string, recall func(last Message) (note func() string, err error)) (*Stream, int64, error) {
	s, err := p.takeOver(ctx, node, sid, recall)
	for try := 1; try < resumeTries && errors.Is(err, errRaced); try++ {
		s, err = p.takeOver(ctx, node, sid, recall)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("resume session %s of node %s: %w", sid, node, err)
	}
	return s, s.Next(), nil
}

// resumeTries is far above what one message of a writer that is dead can cause.
const resumeTries = 10

// errRaced: something was published between reading the last message and ours.
var errRaced = errors.New("the session moves")

func (p *Publisher) takeOver(ctx context.Context, node, sid string, recall func(Message) (func() string, error)) (*Stream, error) {
	s, err := p.open(ctx, node, sid, 0, 0)
	if err != nil {
		return nil, err
	}
	if err = s.learn(ctx); err == nil && recall != nil {
		s.note, err = recall(s.resumed)
	}
	if err == nil {
		if err = s.Alive(ctx); errors.Is(err, ErrConflict) {
			err = fmt.Errorf("%w: %w", errRaced, err)
		}
	}
	if err != nil {
		s.mu.Lock()
		defer s.unlock()
		s.fail(err)
		return nil, err
	}
	return s, nil
}

// A Standing is how far a session has come.
type Standing struct {
	Next int64 // index behind the last event that the bus or the upload log knows of
	Over bool  // it has ended, was handed over or was abandoned; nothing more is recorded
}

// Standing says how far session sid of node has come, without a word to it.
// [ErrNoSession] if nothing is known of it, or no longer; [ErrPermission] as well if
// that is said by the subject alone, since the user may not read the upload log.
func (p *Publisher) Standing(ctx context.Context, node, sid string) (st Standing, err error) {
	if err := validNames(node, sid); err != nil {
		return st, fmt.Errorf("look at session: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("look at session %s of node %s: %w", sid, node, err)
		}
	}()
	part := Partition(sid, p.l.Partitions)
	subject := EventSubject(part, node, sid)
	msg, seq, at, err := p.c.last(ctx, EventStream(part), subject)
	onBus := err == nil
	if onBus {
		m, err := decode(subject, msg.Header, msg.Data, seq, at)
		if err != nil {
			return st, err
		}
		if st.Next, err = m.next(); err != nil {
			return st, err
		}
		st.Over = m.Control == ControlEnd || m.Control == ControlHandover
	} else if !errors.Is(err, errNotFound) {
		return st, err
	}
	state, err := p.c.sessionState(ctx, part, sid)
	switch {
	case err == nil:
		st.Next, st.Over = max(st.Next, state.Next), st.Over || state.Ended
	case errors.Is(err, errNotFound) && !onBus:
		return st, ErrNoSession
	case errors.Is(err, ErrPermission) && !onBus:
		return st, fmt.Errorf("%w; its upload log: %w", ErrNoSession, err)
	case errors.Is(err, errNotFound), errors.Is(err, ErrPermission):
	default:
		return st, err
	}
	return st, nil
}

// learn sets where the session stands.
func (s *Stream) learn(ctx context.Context) error {
	next, last, err := s.learnFromMessages(ctx)
	onBus := err == nil
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	st, err := s.p.c.sessionState(ctx, s.partition, s.sid)
	switch {
	case err == nil:
		if err := st.mayContinue(s.node); err != nil {
			return err
		}
		next = max(next, st.Next)
	case errors.Is(err, errNotFound) && !onBus:
		return ErrNoSession
	case errors.Is(err, errNotFound):
	case errors.Is(err, ErrPermission) && onBus:
		if silent := time.Since(s.resumed.Time); silent > surelyAbandoned {
			return fmt.Errorf("it was silent for %s, which counts as abandoned, and its upload log, which would tell, cannot be read (%w): %w", silent.Round(time.Minute), err, ErrEnded)
		}
	case errors.Is(err, ErrPermission):
		return fmt.Errorf("the bus has no message of it, and its upload log says which index comes next: %w", err)
	default:
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.stored, s.last = next, next, last
	return nil
}

func (s *Stream) learnFromMessages(ctx context.Context) (next int64, last uint64, err error) {
	msg, seq, at, err := s.p.c.last(ctx, EventStream(s.partition), s.subject)
	if err != nil {
		return 0, 0, err
	}
	m, err := decode(s.subject, msg.Header, msg.Data, seq, at)
	if err != nil {
		return 0, 0, err
	}
	switch m.Control {
	case ControlEnd:
		return 0, 0, fmt.Errorf("message %d: %w", seq, ErrEnded)
	case ControlHandover:
		return 0, 0, fmt.Errorf("message %d: handed over to node %s: %w", seq, m.To, ErrEnded)
	}
	if next, err = m.next(); err != nil {
		return 0, 0, fmt.Errorf("message %d: %w", seq, err)
	}
	s.resumed = m
	return next, seq, nil
}

// mayContinue says whether node may publish to the session.
func (st SessionState) mayContinue(node string) error {
	switch {
	case st.Ended:
		return fmt.Errorf("its upload log is closed: %w", ErrEnded)
	case st.NextNode != "" && st.NextNode != node:
		return fmt.Errorf("it was handed over to node %s: %w", st.NextNode, ErrEnded)
	case st.NextNode == "" && st.Node != "" && st.Node != node:
		return fmt.Errorf("it belongs to node %s: %w", st.Node, ErrConflict)
	}
	return nil
}

// sessionState reads a session's newest state in its upload log.
func (c *Conn) sessionState(ctx context.Context, p int, sid string) (SessionState, error) {
	if denied := c.logDenied.Load(); denied != nil {
		return SessionState{}, *denied
	}
	var newest *nats.Msg
	var newestSeq uint64
	for _, subject := range []string{LogSubject(p, sid), CheckpointSubject(p, sid)} {
		msg, seq, _, err := c.last(ctx, StreamUploads, subject)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			if errors.Is(err, ErrPermission) {
				c.logDenied.Store(&err) // once is enough: the server logs each try
			}
			return SessionState{}, err
		}
		if seq > newestSeq {
			newest, newestSeq = msg, seq
		}
	}
	if newest == nil {
		return SessionState{}, errNotFound
	}
	var v struct {
		V int `json:"v"`
	}
	raw := []byte(newest.Header.Get(HeaderState))
	if err := json.Unmarshal(raw, &v); err != nil {
		return SessionState{}, fmt.Errorf("read record %d of the upload log: %w", newestSeq, err)
	}
	if v.V > LogVersion {
		return SessionState{}, fmt.Errorf("record %d of the upload log has version %d: %w than %d", newestSeq, v.V, ErrVersion, LogVersion)
	}
	var st SessionState
	if err := json.Unmarshal(raw, &st); err != nil {
		return SessionState{}, fmt.Errorf("read record %d of the upload log: %w", newestSeq, err)
	}
	return st, nil
}
