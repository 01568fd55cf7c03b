package recorder_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/spool"
)

const patience = 150 * time.Millisecond

// A shaky site has a server that can be stopped and started again.
type shaky struct {
	site
	cfg embed.NATSConfig
	srv *embed.NATS
	dir *spool.Dir
}

func newShaky(t *testing.T) *shaky {
	t.Helper()
	s := &shaky{cfg: embed.NATSConfig{Dir: t.TempDir(), MaxStore: 1 << 30}}
	s.up(t)
	u, err := url.Parse(s.srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	if s.cfg.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.srv.Shutdown() })
	s.site = *siteAt(t, s.srv.URL())
	s.dir = spoolDir(t, 0)
	return s
}

func spoolDir(t testing.TB, max int64) *spool.Dir {
	t.Helper()
	d, err := spool.OpenDir(filepath.Join(t.TempDir(), "spool"), max)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s *shaky) up(t testing.TB) {
	t.Helper()
	var err error
	if s.srv, err = embed.StartNATS(s.cfg); err != nil {
		t.Fatal(err)
	}
}

func (s *shaky) down() { s.srv.Shutdown() }

func (s *shaky) options(p recorder.Policy) recorder.Options {
	return recorder.Options{Policy: p, Patience: patience, Spool: s.dir}
}

// lazy is a recorder that connects by itself.
func (s *shaky) lazy(t testing.TB, opts recorder.Options) *recorder.Recorder {
	t.Helper()
	opts.Node = "gateway"
	r, err := recorder.Open(t.Context(), func(ctx context.Context) (*bus.Conn, bus.Layout, error) {
		conn, err := bus.Connect(ctx, bus.Options{URL: []string{s.url}}, nil)
		if err != nil {
			return nil, bus.Layout{}, err
		}
		layout, err := bus.Inspect(ctx, conn)
		if err != nil {
			conn.Close()
		}
		return conn, layout, err
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(r) })
	return r
}

// closeNow waits for nothing.
func closeNow(r *recorder.Recorder) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	_ = r.Close(ctx)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not after 20 s: %s", what)
}

func held(t testing.TB, d *spool.Dir) int {
	t.Helper()
	u, err := d.Usage()
	if err != nil {
		t.Fatal(err)
	}
	return u.Sessions
}

// mustHave: the bus has one whole session with the text.
func (s *site) mustHave(t testing.TB, sid, text string) {
	t.Helper()
	tp := s.read(t, sid)
	if string(tp.text) != text {
		t.Fatalf("the bus has %d bytes of text, want %d", len(tp.text), len(text))
	}
	if tp.types[0] != "session.start" || tp.types[len(tp.types)-1] != "session.end" {
		t.Errorf("begins with %s and ends with %s", tp.types[0], tp.types[len(tp.types)-1])
	}
}

// saying writes numbered lines and remembers them.
type saying struct {
	s    *recorder.Session
	text strings.Builder
}

func (a *saying) lines(t testing.TB, n int) {
	t.Helper()
	for range n {
		line := fmt.Sprintf("line %d\n", a.text.Len())
		write(t, a.s, line)
		a.text.WriteString(line)
	}
}

func end(t testing.TB, s *recorder.Session) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := s.End(ctx); err != nil {
		t.Fatal(err)
	}
}

// The bus takes nothing, because it is away or because its stream is full, and
// later it does.
func TestEachPolicyWhenTheBusTakesNothing(t *testing.T) {
	faults := []struct {
		name       string
		stop, mend func(t *testing.T, s *shaky)
	}{
		{"away", func(_ *testing.T, s *shaky) { s.down() }, func(t *testing.T, s *shaky) { s.up(t) }},
		{"full", func(t *testing.T, s *shaky) { s.room(t, 1) }, func(t *testing.T, s *shaky) { s.room(t, 64<<20) }},
	}
	for _, fault := range faults {
		for _, policy := range []recorder.Policy{recorder.PolicyBlock, recorder.PolicySpool, recorder.PolicyFail} {
			t.Run(fault.name+", "+string(policy), func(t *testing.T) {
				t.Parallel()
				s := newShaky(t)
				session := start(t, s.recorder(t, s.options(policy)), recorder.Spec{User: "joe", Width: 80, Height: 24})
				says := &saying{s: session}
				says.lines(t, 5)
				if err := session.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				fault.stop(t, s)
				switch policy {
				case recorder.PolicyBlock:
					says.lines(t, 3)
					ctx, stop := context.WithTimeout(t.Context(), 3*patience)
					defer stop()
					if err := session.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || session.Err() != nil {
						t.Fatalf("flush: %v; session: %v", err, session.Err())
					}
					eventually(t, "the session says what it waits for", func() bool { return session.Waiting() != nil })
				case recorder.PolicySpool:
					says.lines(t, 3)
					if err := session.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					says.lines(t, 200)
					if n := held(t, s.dir); n != 1 {
						t.Fatalf("%d sessions are spooled", n)
					}
				case recorder.PolicyFail:
					if _, err := session.Write([]byte("never recorded")); err != nil && !errors.Is(err, recorder.ErrBusAway) {
						t.Fatal(err)
					}
					select {
					case <-session.Done():
					case <-time.After(20 * time.Second):
						t.Fatal("nobody is told")
					}
					_, err := session.Write([]byte("x"))
					for what, err := range map[string]error{"session": session.Err(), "write": err, "end": session.End(t.Context())} {
						if !errors.Is(err, recorder.ErrBusAway) {
							t.Errorf("%s: %v", what, err)
						}
					}
					if fault.mend(t, s); held(t, s.dir) != 0 {
						t.Error("something is spooled")
					}
					return
				}
				fault.mend(t, s)
				says.lines(t, 5)
				end(t, session)
				eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
				s.mustHave(t, session.ID(), says.text.String())
			})
		}
	}
}

// room changes how much the streams of events may hold.
func (s *shaky) room(t *testing.T, bytes int64) {
	t.Helper()
	for p := range s.layout.Partitions {
		str, err := s.conn.JetStream().Stream(t.Context(), bus.EventStream(p))
		if err != nil {
			t.Fatal(err)
		}
		cfg := str.CachedInfo().Config
		cfg.MaxBytes = bytes
		if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASessionThatFailsToBeginUnderFailSaysSoAtOnce(t *testing.T) {
	s := newShaky(t)
	r := s.recorder(t, s.options(recorder.PolicyFail))
	s.down()
	if _, err := r.Start(t.Context(), recorder.Spec{}); !errors.Is(err, recorder.ErrBusAway) {
		t.Errorf("start: %v", err)
	}
	if r.Sessions() != 0 {
		t.Error("it is open")
	}
}

func TestASessionBeginsAndEndsWithoutTheBus(t *testing.T) {
	for _, sender := range []string{"the same recorder", "the next one"} {
		t.Run(sender, func(t *testing.T) {
			t.Parallel()
			s := newShaky(t)
			s.down()
			r := s.lazy(t, s.options(recorder.PolicySpool))
			var all []*saying
			for range 3 {
				says := &saying{s: start(t, r, recorder.Spec{User: "joe", Width: 80, Height: 24})}
				says.lines(t, 100)
				all = append(all, says)
			}
			end(t, all[0].s)
			end(t, all[1].s)
			if u, err := r.Spooled(); err != nil || u.Sessions != 3 || u.Bytes == 0 {
				t.Errorf("spooled: %+v, %v", u, err)
			}
			if sender == "the next one" {
				closeNow(r)
				s.up(t)
				r = s.lazy(t, s.options(recorder.PolicySpool))
				sent := 0
				err := r.SendSpool(t.Context(), func(got recorder.Sent) {
					sent++
					if got.Err != nil || got.Info.Header.Node != "gateway" || got.Info.Events < 100 {
						t.Errorf("%+v", got)
					}
				})
				if err != nil || sent != 3 {
					t.Fatalf("%d sent, %v", sent, err)
				}
				if all[2].s, err = r.Resume(t.Context(), recorder.Spec{ID: all[2].s.ID(), User: "joe", Width: 80, Height: 24}); err != nil {
					t.Fatal(err)
				}
			} else {
				s.up(t)
				eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
			}
			all[2].lines(t, 100)
			end(t, all[2].s)
			eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
			for _, says := range all {
				s.mustHave(t, says.s.ID(), says.text.String())
			}
		})
	}
}

// The user that a producer has in production may not read upload logs.
func TestASessionThatBeganWithoutTheBusIsSentWithAProducersRights(t *testing.T) {
	s := newShaky(t)
	s.down()
	r := s.lazy(t, s.options(recorder.PolicySpool))
	says := &saying{s: start(t, r, recorder.Spec{User: "joe", Width: 80, Height: 24})}
	says.lines(t, 100)
	end(t, says.s)
	closeNow(r)
	s.cfg.Tune = func(o *server.Options) {
		o.NoAuthUser = "gateway"
		o.Users = []*server.User{
			{Username: "viewer", Password: "v"},
			{Username: "gateway", Password: "g", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{
					"tapedeck.events.*.gateway.*", "$JS.API.DIRECT.GET.*.tapedeck.events.*.gateway.*", "$JS.API.STREAM.INFO.*",
				}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", "tapedeck.status.gateway.*"}},
			}},
		}
	}
	s.up(t)
	r = s.lazy(t, s.options(recorder.PolicySpool))
	sent := 0
	if err := r.SendSpool(t.Context(), func(got recorder.Sent) {
		sent++
		if got.Err != nil {
			t.Errorf("session %s: %v", got.Info.Header.SID, got.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if sent != 1 || held(t, s.dir) != 0 {
		t.Errorf("%d sent, %d left", sent, held(t, s.dir))
	}
	closeNow(r)
	viewer := siteAt(t, strings.Replace(s.url, "://", "://viewer:v@", 1))
	viewer.mustHave(t, says.s.ID(), says.text.String())
}

// Events go to the stream, to the file, and to the stream again, many times, and
// the bus may be away for longer or shorter than patience.
func TestABusThatComesAndGoesLosesAndDoublesNothing(t *testing.T) {
	s := newShaky(t)
	session := start(t, s.recorder(t, s.options(recorder.PolicySpool)), recorder.Spec{User: "joe", Width: 80, Height: 24})
	says := &saying{s: session}
	for i := range 5 {
		says.lines(t, 200)
		s.down()
		for range 1 + 20*(i%3) {
			says.lines(t, 10)
			time.Sleep(10 * time.Millisecond)
		}
		s.up(t)
		for range 1 + 30*(i%2) {
			says.lines(t, 10)
			time.Sleep(5 * time.Millisecond)
		}
	}
	end(t, session)
	eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
	s.mustHave(t, session.ID(), says.text.String())
}

// A crash can come at any moment of the sending: the file is there, and the bus
// has some of it, or all.
func TestWhatWasSentBeforeACrashIsNotSentAgain(t *testing.T) {
	s := newShaky(t)
	session := start(t, s.recorder(t, s.options(recorder.PolicySpool)), recorder.Spec{User: "joe", Width: 80, Height: 24})
	says := &saying{s: session}
	says.lines(t, 10)
	s.down()
	says.lines(t, 10)
	if err := session.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir.Path(), spool.NameOf("gateway", session.ID()))
	early, err := os.ReadFile(path) // as a crash would leave it now
	if err != nil {
		t.Fatal(err)
	}
	says.lines(t, 300)
	late, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end(t, session)
	ended, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := *s
	other.dir = spoolDir(t, 0)
	s.up(t)
	eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
	r := s.lazy(t, other.options(recorder.PolicySpool))
	for i, left := range [][]byte{early, late, ended} {
		if err := os.WriteFile(filepath.Join(other.dir.Path(), filepath.Base(path)), left, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.SendSpool(t.Context(), func(sent recorder.Sent) {
			if sent.Err != nil {
				t.Errorf("file %d: %v", i, sent.Err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if held(t, other.dir) != 0 {
			t.Errorf("file %d is still there", i)
		}
	}
	s.mustHave(t, session.ID(), says.text.String())
}

// The same, but the process was gone before anything of the file was sent: one
// crash leaves the early file, and then each sender dies after some of it.
func TestAFileIsSentInPieces(t *testing.T) {
	s := newShaky(t)
	first := s.recorder(t, s.options(recorder.PolicySpool))
	session := start(t, first, recorder.Spec{User: "joe", Width: 80, Height: 24})
	says := &saying{s: session}
	says.lines(t, 10)
	s.down()
	says.lines(t, 400)
	if err := session.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeNow(first)
	s.up(t)
	for tries := 0; held(t, s.dir) > 0; tries++ {
		ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+tries)*4*time.Millisecond)
		r := s.lazy(t, s.options(recorder.PolicySpool))
		_ = r.SendSpool(ctx, nil) // as far as it comes
		stop()
		closeNow(r)
		if tries > 500 {
			t.Fatal("it is never sent")
		}
	}
	again, err := s.recorder(t, s.options(recorder.PolicySpool)).Resume(t.Context(), recorder.Spec{ID: session.ID(), User: "joe", Width: 80, Height: 24})
	if err != nil {
		t.Fatal(err)
	}
	says.s = again
	says.lines(t, 10)
	end(t, again)
	s.mustHave(t, session.ID(), says.text.String())
}

func TestAFullSpoolMakesTheSessionWaitAndDropsNothing(t *testing.T) {
	s := newShaky(t)
	s.dir = spoolDir(t, 20_000)
	session := start(t, s.recorder(t, s.options(recorder.PolicySpool)), recorder.Spec{User: "joe", Width: 80, Height: 24})
	says := &saying{s: session}
	s.down()
	says.lines(t, 5)
	if err := session.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		says.lines(t, 1000)
	}()
	eventually(t, "the session says that the spool is full", func() bool { return errors.Is(session.Waiting(), spool.ErrFull) })
	select {
	case <-written:
		t.Fatal("more was taken than there is room for")
	default:
	}
	s.up(t)
	<-written
	end(t, session)
	eventually(t, "the spool is empty", func() bool { return held(t, s.dir) == 0 })
	s.mustHave(t, session.ID(), says.text.String())
}

func TestASpooledSessionThatTheBusRefusesStaysForAPerson(t *testing.T) {
	s := newShaky(t)
	rival := start(t, s.recorder(t, recorder.Options{}), recorder.Spec{ID: "taken", User: "ann"})
	abandoned := start(t, s.recorder(t, recorder.Options{}), recorder.Spec{ID: "left", User: "joe"})
	if err := errors.Join(rival.Flush(t.Context()), abandoned.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	p := bus.Partition("left", s.layout.Partitions)
	state, err := json.Marshal(bus.SessionState{V: bus.LogVersion, Node: "gateway", Next: 1, Ended: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.conn.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: bus.LogSubject(p, "left"), Header: nats.Header{bus.HeaderState: {string(state)}}}); err != nil {
		t.Fatal(err)
	}
	s.down()
	r := s.lazy(t, s.options(recorder.PolicySpool))
	session := start(t, r, recorder.Spec{ID: "taken", User: "joe"})
	file, err := s.dir.Create(spool.Header{Node: "gateway", SID: "left", First: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Append(spool.Event{Index: 1, OneOf: encoded(t, 1)}); err != nil {
		t.Fatal(err)
	}
	file.Close()
	s.up(t)
	select {
	case <-session.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("nobody is told")
	}
	if err := session.Err(); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("the session: %v", err)
	}
	closeNow(r)
	r = s.lazy(t, s.options(recorder.PolicySpool))
	got := map[string]error{}
	for range 2 { // refused stays refused
		if err := r.SendSpool(t.Context(), func(sent recorder.Sent) { got[sent.Info.Header.SID] = sent.Err }); err != nil {
			t.Fatal(err)
		}
		if got["left"] == nil || got["taken"] == nil {
			t.Errorf("what became of them: %v", got)
		}
	}
	info, err := s.dir.Look(spool.NameOf("gateway", "left"))
	if err != nil || !strings.Contains(info.Refused, "abandon") && !strings.Contains(info.Refused, "ended") || info.Events != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	if held(t, s.dir) != 2 {
		t.Errorf("%d files", held(t, s.dir))
	}
}

func encoded(t testing.TB, index int64) []byte {
	t.Helper()
	b, err := events.Marshal(&events.OneOf{Event: &events.OneOf_SessionPrint{SessionPrint: &events.SessionPrint{
		Metadata: &events.Metadata{Index: index, Type: "print"}, Data: []byte("x"), Bytes: 1,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOptionsThatDoNotGoTogetherAreRefused(t *testing.T) {
	s := newSite(t)
	for _, opts := range []recorder.Options{
		{Node: "n", Policy: "drop"},
		{Node: "n", Policy: recorder.PolicySpool},
	} {
		if _, err := recorder.New(s.conn, s.layout, opts); err == nil {
			t.Errorf("%+v was taken", opts)
		}
	}
}
