package recorder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A sink takes a session's encoded events in order: *bus.Stream, which blocks
// while the bus is away, strict, which fails, or spooled, which keeps them.
type sink interface {
	// Append queues one encoded OneOf, which it copies. It blocks while the
	// queue is full, until ctx is done or the sink is closed or has failed.
	Append(ctx context.Context, oneof []byte, index int64) error
	// Flush returns nil when the bus has everything that was appended, or, of
	// a sink that spools, the disk.
	Flush(ctx context.Context) error
	// Alive says that the session lives, unless something is queued that says
	// it anyway. Like Append it is done once it is queued; then it waits for the
	// bus until ctx is done.
	Alive(ctx context.Context) error
	// End, behind what was appended, says that the session is over and how
	// many events it has; nil means what it means of Flush.
	End(ctx context.Context) error
	// Waiting says what it waits for before it can go on, nil if nothing.
	Waiting() error
	// Done is closed when the sink takes no more. Err says why.
	Done() <-chan struct{}
	Err() error
	// Close flushes until ctx is done and then fails whoever still waits.
	Close(ctx context.Context) error
}

// A Session is one session being recorded. Its methods may be called from
// several goroutines; events get their order as they are accepted.
type Session struct {
	r    *Recorder
	id   string
	out  sink
	turn chan struct{} // one token: whoever has it owns the fields below it

	spec         Spec
	next         int64 // index of the next event
	print        printState
	desktopLast  int64 // delay of the last desktop message
	over         bool  // its end event is among the events
	participants []string
	scratch      printMessage // reused for each print

	ctx     context.Context // of Write, which has none of its own; done when closed
	cancel  context.CancelFunc
	last    atomic.Int64 // when the session last said something, Unix ns
	ended   atomic.Bool  // by us
	ending  sync.Once
	status  atomic.Pointer[Status]
	unwatch func()
	span    trace.Span // the whole session

	noteMu sync.Mutex
	note   note
}

// Start begins a session and records its session.start event, or that of a
// desktop session. It returns when
// the bus has that event on disk, or with the reason why it has not.
func (r *Recorder) Start(ctx context.Context, spec Spec) (*Session, error) {
	if err := spec.fill(r.opts); err != nil {
		return nil, err
	}
	if spec.Started.IsZero() {
		spec.Started = time.Now()
	}
	spec.Started = stamp(spec.Started)
	s := newSession(r, spec, nil)
	ctx, s.span = r.span(ctx, spec.ID)
	if err := r.open(ctx, s); err != nil {
		fail(s.span, err)
		return nil, fmt.Errorf("start session %s: %w", spec.ID, err)
	}
	ctx, publishing := r.opts.Tracer.Start(ctx, "publish session start")
	defer publishing.End()
	if err := s.begin(ctx); err != nil {
		publishing.SetStatus(codes.Error, err.Error())
		s.shut()
		return nil, err
	}
	return s, nil
}

func newSession(r *Recorder, spec Spec, out sink) *Session {
	s := &Session{r: r, id: spec.ID, out: out, spec: spec, turn: make(chan struct{}, 1), unwatch: func() {}, span: noop.Span{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.scratch.init()
	s.addParticipant(spec.User)
	s.takeNote()
	s.touch()
	s.turn <- struct{}{}
	return s
}

func (s *Session) begin(ctx context.Context) error {
	if err := s.r.add(s); err != nil {
		return err
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if err := s.emit(ctx, s.startEvent()); err != nil {
		return err
	}
	return s.flush(ctx)
}

func (s *Session) sessionStart(md *events.Metadata) *events.SessionStart {
	start := &events.SessionStart{
		Metadata:         md,
		InitialCommand:   s.spec.InitialCommand,
		Invited:          s.spec.Invited,
		Reason:           s.spec.Reason,
		SessionRecording: "node",
	}
	if s.spec.Width > 0 {
		start.TerminalSize = terminalSize(s.spec.Width, s.spec.Height)
	}
	return start
}

// ID returns the session's id.
func (s *Session) ID() string { return s.id }

// Done is closed when the session takes no more: it was ended or closed, or
// it cannot go on and Err says why.
func (s *Session) Done() <-chan struct{} { return s.out.Done() }

// Err returns why the session cannot go on: nil if it can, or if it was ended
// or closed.
func (s *Session) Err() error {
	err := s.out.Err()
	closed := s.ctx.Err() != nil && errors.Is(err, bus.ErrClosed)
	if closed || s.ended.Load() && errors.Is(err, bus.ErrEnded) {
		return nil
	}
	return err
}

// Waiting says what the bus keeps the session waiting for (room, a leader, a
// connection), nil if nothing. Until it is nil again nothing reaches the bus.
func (s *Session) Waiting() error { return s.out.Waiting() }

// Next returns the index that the next event will have: the events so far.
func (s *Session) Next() int64 {
	<-s.turn
	defer s.release()
	return s.next
}

// acquire takes the turn. It fails when the session is closed.
func (s *Session) acquire(ctx context.Context) error {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return s.why(fmt.Errorf("record session %s: %w", s.id, context.Cause(ctx)))
	}
	if s.ctx.Err() != nil {
		s.release()
		return s.why(nil)
	}
	return nil
}

func (s *Session) release() { s.turn <- struct{}{} }

// why replaces an error of waiting by the reason behind it.
func (s *Session) why(err error) error {
	if own := s.Err(); own != nil {
		return own
	}
	if s.ctx.Err() != nil {
		return fmt.Errorf("record session %s: %w", s.id, ErrClosed)
	}
	return err
}

func (s *Session) touch() { s.last.Store(time.Now().UnixNano()) }

func (s *Session) addParticipant(user string) {
	if user != "" && !slices.Contains(s.participants, user) {
		s.participants = append(s.participants, user)
	}
}

// Resize records a new size of the terminal.
func (s *Session) Resize(ctx context.Context, width, height int) error {
	if width <= 0 || height <= 0 {
		return fmt.Errorf("record resize: %dx%d is no terminal size", width, height)
	}
	return s.Emit(ctx, &events.Resize{TerminalSize: terminalSize(width, height)})
}

// A Participant is somebody who joins a session or leaves it.
type Participant struct {
	User, Login, RemoteAddr string
}

// Join records that somebody joined. They count as a participant.
func (s *Session) Join(ctx context.Context, p Participant) error {
	return s.Emit(ctx, &events.SessionJoin{User: p.user(), Connection: s.connection(p)})
}

// Leave records that somebody left.
func (s *Session) Leave(ctx context.Context, p Participant) error {
	return s.Emit(ctx, &events.SessionLeave{User: p.user(), Connection: s.connection(p)})
}

func (p Participant) user() *events.UserMetadata {
	return &events.UserMetadata{User: p.User, Login: p.Login}
}

func (s *Session) connection(p Participant) *events.ConnectionMetadata {
	c := s.spec.connectionMetadata()
	c.RemoteAddr = p.RemoteAddr
	return c
}

// Flush returns nil when the bus has everything that was accepted, the
// beginning of an unfinished UTF-8 sequence included.
func (s *Session) Flush(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	return s.flush(ctx)
}

func (s *Session) flush(ctx context.Context) error {
	if err := s.writeTail(ctx); err != nil {
		return err
	}
	if err := s.out.Flush(ctx); err != nil {
		return s.why(err)
	}
	return nil
}

// End finishes the session: it records session.end (of a desktop session the end
// that those have), unless that was emitted already, says on the bus how many events there are, and returns nil when the
// bus has it all. After an error because ctx was done it can be called again.
func (s *Session) End(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if err := s.writeTail(ctx); err != nil {
		return err
	}
	if !s.over {
		if err := s.emit(ctx, s.endEvent(time.Now())); err != nil {
			return err
		}
	}
	s.ended.Store(true)
	_, publishing := s.r.opts.Tracer.Start(trace.ContextWithSpan(ctx, s.span), "publish session end")
	defer publishing.End()
	if err := s.out.End(ctx); err != nil {
		publishing.SetStatus(codes.Error, err.Error())
		return s.why(err)
	}
	s.shut()
	return nil
}

func (s *Session) sessionEnd(end *timestamppb.Timestamp) *events.SessionEnd {
	return &events.SessionEnd{
		Interactive:      s.spec.Interactive,
		Participants:     s.participants,
		StartTime:        timestamppb.New(s.spec.Started),
		EndTime:          end,
		InitialCommand:   s.spec.InitialCommand,
		SessionRecording: "node",
	}
}

// Close lets go of a session that is not over: it flushes and leaves it to be
// resumed, here or elsewhere. If ctx is done first, what the bus has not got
// is dropped and the error says so. Closing a closed session does nothing.
func (s *Session) Close(ctx context.Context) error {
	err := s.acquire(ctx)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if err != nil { // somebody waits for the bus with the turn in hand, and now fails
		s.shut()
		return err
	}
	defer s.release()
	err = s.flush(ctx)
	s.shut()
	return err
}

// shut lets go of everything; whoever waits for the bus fails.
func (s *Session) shut() {
	s.ending.Do(func() {
		s.cancel()
		_ = s.out.Close(s.ctx) // done already: nothing is waited for
		s.r.remove(s)
		s.endSpan()
	})
}
