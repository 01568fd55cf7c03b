package recorder_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// A site is a bus of its own, with one node on it.
type site struct {
	url    string
	conn   *bus.Conn
	layout bus.Layout
}

func newSite(t testing.TB) *site {
	t.Helper()
	return siteAt(t, embedtest.NATS(t))
}

func siteAt(t testing.TB, url string) *site {
	t.Helper()
	s := &site{url: url}
	s.conn = s.connect(t)
	var err error
	s.layout, err = bus.Ensure(t.Context(), s.conn, bus.Layout{
		Partitions: 2, EventsMaxBytes: 256 << 20, UploadsMaxBytes: 16 << 20,
		AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) connect(t testing.TB) *bus.Conn {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{s.url}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func (s *site) recorder(t testing.TB, opts recorder.Options) *recorder.Recorder {
	t.Helper()
	opts.Node = "gateway"
	r, err := recorder.New(s.conn, s.layout, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithCancel(context.Background())
		stop()
		_ = r.Close(ctx)
	})
	return r
}

func start(t testing.TB, r *recorder.Recorder, spec recorder.Spec) *recorder.Session {
	t.Helper()
	s, err := r.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s *recorder.Session, text string) {
	t.Helper()
	if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write(%d bytes) = %d, %v", len(text), n, err)
	}
}

// A tape is a session as the bus has it.
type tape struct {
	events   []events.Event
	types    []string
	text     []byte
	controls []bus.Message
}

// read reads a session back and checks what is true of every session.
func (s *site) read(t testing.TB, sid string) tape {
	t.Helper()
	var tp tape
	var chunks, delay int64
	for m, err := range bus.Read(t.Context(), s.conn, s.layout, sid, bus.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Control != bus.ControlNone {
			if m.Count != int64(len(tp.events)) {
				t.Errorf("%s message says %d events after %d", m.Control, m.Count, len(tp.events))
			}
			tp.controls = append(tp.controls, m)
			continue
		}
		for oneof, err := range m.Records() {
			if err != nil {
				t.Fatal(err)
			}
			e := unwrap(t, oneof)
			if md := e.GetMetadata(); md.Index != int64(len(tp.events)) || md.Time.AsTime().Nanosecond()%1e6 != 0 {
				t.Fatalf("event %d has index %d and time %s", len(tp.events), md.Index, md.Time.AsTime())
			}
			if p, ok := e.(*events.SessionPrint); ok {
				if p.ChunkIndex != chunks || p.Offset != int64(len(tp.text)) || p.Bytes != int64(len(p.Data)) || p.DelayMilliseconds < delay {
					t.Fatalf("print %d at %d has chunk %d, offset %d, bytes %d of %d, delay %d after %d", chunks, len(tp.text),
						p.ChunkIndex, p.Offset, p.Bytes, len(p.Data), p.DelayMilliseconds, delay)
				}
				tp.text = append(tp.text, p.Data...)
				chunks, delay = chunks+1, p.DelayMilliseconds
			}
			tp.events = append(tp.events, e)
			tp.types = append(tp.types, e.GetMetadata().Type)
		}
	}
	return tp
}

func unwrap(t testing.TB, oneof []byte) events.Event {
	t.Helper()
	one, err := events.Unmarshal(oneof)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.Unwrap(one)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (tp tape) controlled() (controls []bus.Control) {
	for _, m := range tp.controls {
		controls = append(controls, m.Control)
	}
	return controls
}

func TestASessionReadsBackAsItHappened(t *testing.T) {
	site := newSite(t)
	r := site.recorder(t, recorder.Options{Cluster: "example"})
	began := time.Now().Add(-time.Millisecond)
	s := start(t, r, recorder.Spec{
		User: "joe", Login: "root", ServerHostname: "db1", RemoteAddr: "192.0.2.1:4022", Width: 80, Height: 25, InitialCommand: []string{"top", "-b"},
	})
	ctx := t.Context()
	bob := recorder.Participant{User: "bob", Login: "root", RemoteAddr: "192.0.2.9:1"}
	write(t, s, "hello\r\n")
	for what, err := range map[string]error{
		"resize": s.Resize(ctx, 120, 40),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := errors.Join(s.Join(ctx, bob), s.Leave(ctx, bob)); err != nil {
		t.Fatal(err)
	}
	if err := s.Emit(ctx, &events.Exec{Command: &events.CommandMetadata{Command: "false", ExitCode: "1"}}); err != nil {
		t.Fatal(err)
	}
	write(t, s, "bye\r\n")
	if err := s.End(ctx); err != nil {
		t.Fatal(err)
	}

	tp := site.read(t, s.ID())
	want := []string{"session.start", "print", "resize", "session.join", "session.leave", "exec", "print", "session.end"}
	if !slices.Equal(tp.types, want) || string(tp.text) != "hello\r\nbye\r\n" {
		t.Fatalf("the bus has %v and %q", tp.types, tp.text)
	}
	if got := tp.controlled(); !slices.Equal(got, []bus.Control{bus.ControlEnd}) {
		t.Errorf("control messages: %v", got)
	}
	codes := []string{"T2000I", "", "T2002I", "T2001I", "T2003I", "T3002E", "", "T2004I"}
	for i, e := range tp.events {
		md := e.GetMetadata()
		at := md.Time.AsTime()
		if md.Code != codes[i] || (md.Id == "") != (md.Type == "print") || md.ClusterName != "example" || at.Before(began) || at.After(time.Now()) {
			t.Errorf("event %d: %v", i, md)
		}
		if e, ok := e.(interface {
			GetSession() *events.SessionMetadata
		}); ok && e.GetSession().GetSessionId() != s.ID() {
			t.Errorf("event %d is of session %q", i, e.GetSession().GetSessionId())
		}
	}
	first, end := tp.events[0].(*events.SessionStart), tp.events[7].(*events.SessionEnd)
	if first.TerminalSize != "80:25" || first.User.User != "joe" || first.Server.ServerId != "gateway" || first.Connection.RemoteAddr != "192.0.2.1:4022" {
		t.Errorf("session.start: %v", first)
	}
	if rs := tp.events[2].(*events.Resize); rs.TerminalSize != "120:40" || rs.Server.ServerHostname != "db1" {
		t.Errorf("resize: %v", rs)
	}
	if !end.Interactive || !slices.Equal(end.Participants, []string{"joe", "bob"}) || !end.StartTime.AsTime().Equal(first.Metadata.Time.AsTime()) ||
		end.EndTime.AsTime().Before(end.StartTime.AsTime()) || !slices.Equal(end.InitialCommand, []string{"top", "-b"}) {
		t.Errorf("session.end: %v", end)
	}

	<-s.Done()
	if err := s.Err(); err != nil {
		t.Errorf("an ended session has the error %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, recorder.ErrClosed) {
		t.Errorf("Write after End: %v", err)
	}
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close after End: %v", err)
	}
	if r.Sessions() != 0 {
		t.Errorf("%d sessions are open", r.Sessions())
	}
}

func TestAnEventThatIsRefusedCostsNothing(t *testing.T) {
	site := newSite(t)
	s := start(t, site.recorder(t, recorder.Options{}), recorder.Spec{ID: "mine"})
	tests := []struct {
		name  string
		event events.Event
		want  error
	}{
		{"one byte too long", &events.Exec{Command: &events.CommandMetadata{Command: strings.Repeat("x", events.MaxOneOf)}}, recorder.ErrTooLarge},
		{"of another session", &events.Resize{Session: &events.SessionMetadata{SessionId: "other"}}, recorder.ErrMisplaced},
		{"session.upload", &events.SessionUpload{}, recorder.ErrMisplaced},
		{"session.data", &events.SessionData{}, recorder.ErrMisplaced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Emit(t.Context(), tt.event); !errors.Is(err, tt.want) {
				t.Errorf("Emit: %v, want %v", err, tt.want)
			}
			write(t, s, "x")
		})
	}
	if err := s.Emit(t.Context(), &events.SessionEnd{Participants: []string{"only me"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("late")); !errors.Is(err, recorder.ErrMisplaced) {
		t.Errorf("Write after session.end: %v", err)
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	tp := site.read(t, "mine")
	if !slices.Equal(tp.types, []string{"session.start", "print", "print", "print", "print", "session.end"}) {
		t.Errorf("the bus has %v", tp.types)
	}
}

func TestTheLargestEventThatFitsIsRecorded(t *testing.T) {
	site := newSite(t)
	s := start(t, site.recorder(t, recorder.Options{}), recorder.Spec{})
	size := events.MaxOneOf
	var err error
	for ; ; size-- { // each refusal costs nothing
		err = s.Emit(t.Context(), &events.Exec{Command: &events.CommandMetadata{Command: strings.Repeat("x", size)}})
		if !errors.Is(err, recorder.ErrTooLarge) {
			break
		}
	}
	if err != nil || size < events.MaxOneOf-400 {
		t.Fatalf("the largest command has %d bytes: %v", size, err)
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := site.read(t, s.ID()).events[1].(*events.Exec).Command.Command; len(got) != size {
		t.Errorf("the command came back with %d bytes", len(got))
	}
}

func TestGivenTimesDecideTheDelays(t *testing.T) {
	site := newSite(t)
	r := site.recorder(t, recorder.Options{})
	began := time.Date(2021, 11, 18, 15, 33, 59, 792_400_000, time.UTC)
	s := start(t, r, recorder.Spec{Started: began})
	delays := []time.Duration{200 * time.Millisecond, 1234500 * time.Microsecond, time.Hour}
	for _, d := range delays {
		e := &events.SessionPrint{Metadata: &events.Metadata{Time: timestamppb.New(began.Add(d))}, Data: []byte("x")}
		if err := s.Emit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	tp := site.read(t, s.ID())
	for i, d := range delays {
		p := tp.events[i+1].(*events.SessionPrint)
		at, delay := p.Metadata.Time.AsTime(), time.Duration(p.DelayMilliseconds)*time.Millisecond
		if !at.Equal(began.Add(d).Round(time.Millisecond)) || (delay-(d-delays[0])).Abs() > time.Millisecond {
			t.Errorf("print %d is at %s with delay %s", i, at, delay)
		}
	}
}

func TestASecondWriterStopsTheFirstWithTheReason(t *testing.T) {
	site := newSite(t)
	a := start(t, site.recorder(t, recorder.Options{}), recorder.Spec{ID: "contested"})
	if _, err := site.recorder(t, recorder.Options{}).Start(t.Context(), recorder.Spec{ID: "contested"}); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("starting it again: %v", err)
	}
	b, err := site.recorder(t, recorder.Options{}).Resume(t.Context(), recorder.Spec{ID: "contested"})
	if err != nil {
		t.Fatal(err)
	}
	write(t, b, "theirs")
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, a, "ours")
	select {
	case <-a.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the first writer goes on")
	}
	if !errors.Is(a.Err(), bus.ErrConflict) {
		t.Errorf("the reason: %v", a.Err())
	}
	if err := a.End(t.Context()); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("End: %v", err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tp := site.read(t, "contested"); string(tp.text) != "theirs" {
		t.Errorf("the bus has %q", tp.text)
	}
}

func TestWritersWaitWhileTheBusIsAwayAndNothingIsLost(t *testing.T) {
	cfg := embed.NATSConfig{Dir: t.TempDir(), MaxStore: 8 << 30}
	srv, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Port = srv.Port()
	site := siteAt(t, srv.URL())
	s := start(t, site.recorder(t, recorder.Options{}), recorder.Spec{})
	srv.Shutdown()

	line := bytes.Repeat([]byte("0123456789abcde\n"), 64)
	var accepted, target = 0, 2 << 20
	progress := make(chan int, target/len(line))
	finished := make(chan error, 1)
	go func() {
		for range target / len(line) {
			if _, err := s.Write(line); err != nil {
				finished <- err
				return
			}
			progress <- len(line)
		}
		finished <- nil
	}()
	for quiet := false; !quiet; {
		select {
		case n := <-progress:
			accepted += n
		case <-time.After(300 * time.Millisecond):
			quiet = true
		}
	}
	if accepted > 512<<10 {
		t.Errorf("%d bytes were accepted while the bus was away", accepted)
	}
	eventually(t, "the session says that it waits", func() bool { return s.Waiting() != nil })
	if srv, err = embed.StartNATS(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tp := site.read(t, s.ID()); !bytes.Equal(tp.text, bytes.Repeat(line, target/len(line))) {
		t.Errorf("the bus has %d bytes of %d", len(tp.text), target)
	}
}

func TestCloseFreesAWriterThatTheBusKeepsWaiting(t *testing.T) {
	srv, err := embed.StartNATS(embed.NATSConfig{Dir: t.TempDir(), MaxStore: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	site := siteAt(t, srv.URL())
	s := start(t, site.recorder(t, recorder.Options{}), recorder.Spec{})
	srv.Shutdown()
	finished := make(chan error, 1)
	go func() {
		for {
			if _, err := s.Write(make([]byte, 50_000)); err != nil {
				finished <- err
				return
			}
		}
	}()
	time.Sleep(200 * time.Millisecond)
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	select {
	case err := <-finished:
		if !errors.Is(err, recorder.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the writer still waits")
	}
}

func TestAnIdleSessionSaysThatItIsAlive(t *testing.T) {
	site := newSite(t)
	s := start(t, site.recorder(t, recorder.Options{Alive: 200 * time.Millisecond}), recorder.Spec{})
	time.Sleep(time.Second)
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := site.read(t, s.ID()).controlled()
	if n := len(got); n < 4 || n > 9 || got[0] != bus.ControlAlive || got[n-1] != bus.ControlEnd {
		t.Errorf("control messages in a second: %v", got)
	}
}

func TestStatusSaysHowFarS3HasIt(t *testing.T) {
	site := newSite(t)
	r := site.recorder(t, recorder.Options{})
	s, other := start(t, r, recorder.Spec{}), start(t, r, recorder.Spec{})
	if st := s.Status(); st.Index != -1 || st.UploadID != "" {
		t.Errorf("before the first: %+v", st)
	}
	at := time.Now().UTC().Round(time.Millisecond)
	for _, index := range []int64{-1, 41, 17} { // the last one is a zombie's
		err := bus.PublishStatus(site.conn, "gateway", s.ID(), &events.StreamStatus{UploadId: "u1", LastEventIndex: index, LastUploadTime: timestamppb.New(at)})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(site.conn.NATS().Flush(), other.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := recorder.Status{UploadID: "u1", Index: 41, At: at}
	for deadline := time.Now().Add(5 * time.Second); s.Status() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status %+v, want %+v", s.Status(), want)
		}
	}
	time.Sleep(50 * time.Millisecond)
	if s.Status() != want || other.Status().Index != -1 {
		t.Errorf("status %+v and %+v", s.Status(), other.Status())
	}
}
