package compose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapedeck-io/tapedeck/internal/accesslog"
	"github.com/tapedeck-io/tapedeck/internal/completer"
	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/lookaudit"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
	access "github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// violations gathers what the server says that it denied.
type violations struct {
	slog.Handler
	mu   sync.Mutex
	said []string
}

func (v *violations) Enabled(context.Context, slog.Level) bool { return true }

func (v *violations) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		// A producer that resumes asks the upload log too, if it may, and does
		// without where the bus still has the session.
		s := a.Value.String()
		if strings.Contains(s, "Violation") && !strings.Contains(s, "$JS.API.DIRECT.GET.UPLOADS.tapedeck.uploads.") {
			v.mu.Lock()
			v.said = append(v.said, s)
			v.mu.Unlock()
		}
		return true
	})
	return nil
}

// take returns what was said so far, and forgets it.
func (v *violations) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	said := v.said
	v.said = nil
	return said
}

// A site is the stack's bus with its real users, installed as the install service
// does, and a bucket.
type site struct {
	srv    *embed.NATS
	denied *violations
	s3     s3store.Options
	store  *s3store.Store
	layout bus.Layout
}

func newSite(t *testing.T) *site {
	t.Helper()
	conf := natsOptions(t, "single.conf", "nats-plain")
	s := &site{denied: &violations{Handler: slog.DiscardHandler}, s3: embedtest.S3(t)}
	s.srv = embedtest.NATSServer(t, embed.NATSConfig{Log: slog.New(s.denied), Tune: func(o *server.Options) {
		o.Users, o.Accounts, o.SystemAccount = conf.Users, conf.Accounts, conf.SystemAccount
		o.NoSystemAccount = false
	}})
	var err error
	if s.store, err = s3store.Open(t.Context(), s.s3, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	s.layout, err = bus.Ensure(t.Context(), s.as(t, "install"), bus.Layout{Partitions: 8, EventsMaxBytes: 64 << 20, UploadsMaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// as connects as one of the users, with the inbox that compose.yaml gives it.
func (s *site) as(t *testing.T, user string) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), bus.Options{URL: []string{s.srv.URL()}, User: user, Password: bus.Secret(passwordOf(user)),
		InboxPrefix: "_INBOX_" + strings.TrimPrefix(user, "producer-")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// logTo has warnings in the test's output.
func logTo(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// run runs a service until the function that it returns is called.
func run(t *testing.T, name string, service func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func (s *site) slicer(t *testing.T, member string) (stop func()) {
	cfg := slicer.DefaultConfig()
	cfg.Member, cfg.IdleCheckpoint, cfg.KeepTime, cfg.CursorEvery = member, 500*time.Millisecond, time.Second, 100*time.Millisecond
	svc, err := slicer.New(cfg, slicer.Deps{Conn: s.as(t, "slicer"), Layout: s.layout, Store: s.store, Log: logTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "slicer "+member, svc.Run)
}

func (s *site) completer(t *testing.T) (stop func()) {
	cfg := completer.DefaultConfig()
	cfg.Sweep, cfg.OrphanSweep = time.Second, time.Second
	svc, err := completer.New(cfg, completer.Deps{Conn: s.as(t, "completer"), Layout: s.layout, Store: s.store, Bucket: s.s3.Bucket, Log: logTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "completer", svc.Run)
}

func (s *site) accesslog(t *testing.T, url string) (stop func()) {
	cfg := accesslog.DefaultConfig()
	cfg.Sinks = []accesslog.SinkConfig{{Kind: accesslog.KindS3}, {Kind: accesslog.KindWebhook, URL: url, Start: "all"}}
	cfg.Flush = 100 * time.Millisecond
	svc, err := accesslog.New(cfg, accesslog.Deps{Conn: s.as(t, "accesslog"), Layout: s.layout, Store: s.store, Log: logTo(t)})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "accesslog", svc.Run)
}

// record records a session of n lines, goes away in the middle, and comes back.
func (s *site) record(t *testing.T, sid string, n int) {
	t.Helper()
	ctx, conn := t.Context(), s.as(t, "producer-demo")
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := recorder.New(conn, layout, recorder.Options{Node: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := rec.Start(ctx, recorder.Spec{ID: sid, User: "joe", Login: "root", Width: 80, Height: 24})
	for i := range n {
		if err == nil && i == n/2 {
			if err = session.Close(ctx); err == nil {
				time.Sleep(700 * time.Millisecond) // so that it is idle and checkpointed
				session, err = rec.Resume(ctx, recorder.Spec{ID: sid, User: "joe", Login: "root", Width: 80, Height: 24})
			}
		}
		if err == nil {
			_, err = fmt.Fprintf(session, "line %d\r\n", i)
		}
	}
	if err == nil {
		err = session.End(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// finished waits for a recording and checks every byte of it.
func (s *site) finished(t *testing.T, lib *recording.Library, sid string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		rep, err := lib.Verify(t.Context(), sid, nil)
		if err == nil && rep.Verdict == recording.OK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("session %s after 30 s: %v %v %v; denied: %q", sid, rep.Verdict, rep.Problems, err, s.denied.take())
		}
	}
}

func TestEachRoleCanDoAllThatItMustAndIsDeniedNothing(t *testing.T) {
	s := newSite(t)
	hook := make(chan string, 100)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hook <- r.URL.Path }))
	defer web.Close()
	s.accesslog(t, web.URL+"/hook")
	first := s.slicer(t, "first")
	stopCompleter := s.completer(t)
	s.indexer(t)

	viewer := s.as(t, "viewer")
	lib := &recording.Library{Store: s.store, Conn: viewer, Layout: s.layout}
	live := uuid.NewString()
	follow := make(chan int, 1)
	started := make(chan struct{})
	go func() { // a viewer of what is being recorded
		<-started
		n := 0
		if r, err := lib.Follow(t.Context(), live); err == nil {
			for range r.Records(t.Context(), recording.Range{}) {
				n++
			}
			_ = r.Close()
		}
		follow <- n
	}()
	go func() {
		time.Sleep(300 * time.Millisecond)
		close(started)
	}()
	s.record(t, live, 100)
	if n := <-follow; n == 0 {
		t.Error("the viewer saw nothing")
	}
	s.finished(t, lib, live)
	s.indexed(t, live)

	// A second slicer takes over what the first lets go.
	s.slicer(t, "second")
	time.Sleep(time.Second)
	first()
	taken := uuid.NewString()
	s.record(t, taken, 50)
	s.finished(t, lib, taken)

	// S3 loses an upload, and the completer makes it anew from the bus.
	stopCompleter()
	lost := uuid.NewString()
	s.record(t, lost, 50)
	s.loseUpload(t, lost)
	s.completer(t)
	s.finished(t, lib, lost)

	s.view(t, lib, lost)
	page := s.as(t, "web")
	s.view(t, &recording.Library{Store: s.store, Conn: page, Layout: s.layout}, lost)
	for _, conn := range []*bus.Conn{viewer, page} {
		if err := lookaudit.Publish(t.Context(), conn, lookaudit.Look{Session: lost, User: "ada", Format: "web"}); err != nil {
			t.Error(err)
		}
	}
	publishAccess(t, s.as(t, "producer-demo"))
	select {
	case <-hook:
	case <-time.After(20 * time.Second):
		t.Error("no webhook came")
	}
	s.awaitAccess(t)
	if said := s.denied.take(); len(said) > 0 {
		t.Errorf("denied to those who must:\n%s", strings.Join(said, "\n"))
	}
}

// indexer makes seek indexes as the web server does, with its user.
func (s *site) indexer(t *testing.T) {
	t.Helper()
	lib := &recording.Library{Store: s.store, Conn: s.as(t, "web"), Layout: s.layout}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- seekindex.NewWorker(lib, s.store, nil).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// indexed waits for the index of a finished session.
func (s *site) indexed(t *testing.T, sid string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := seekindex.Open(t.Context(), s.store, sid)
		if err == nil {
			return
		}
		if !errors.Is(err, seekindex.ErrNotFound) || time.Now().After(deadline) {
			t.Fatalf("index of %s: %v", sid, err)
		}
	}
}

// loseUpload waits for the session's upload and aborts it behind everybody's back.
func (s *site) loseUpload(t *testing.T, sid string) {
	t.Helper()
	key := s.store.Key(sid + ".tar")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for u, err := range s.store.ListUploads(t.Context(), key) {
			if err != nil {
				t.Fatal(err)
			}
			if parts, err := s.store.ListParts(t.Context(), key, u.ID); err != nil || len(parts) == 0 {
				continue
			}
			if err := s.store.AbortUpload(t.Context(), key, u.ID); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("session %s has no upload after 20 s", sid)
}

// view reads as people do.
func (s *site) view(t *testing.T, lib *recording.Library, sid string) {
	t.Helper()
	n := 0
	for _, err := range lib.List(t.Context(), recording.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d sessions listed, want 3", n)
	}
	stored, err := lib.Open(t.Context(), sid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stored.Close() }()
	replayed, err := lib.FromBus(t.Context(), sid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = replayed.Close() }()
	if diff, err := recording.Compare(t.Context(), stored, replayed); err != nil || !diff.Equal() {
		t.Errorf("S3 and bus differ: %+v %v", diff, err)
	}
}

func (s *site) awaitAccess(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for obj, err := range s.store.List(t.Context(), "", "") {
			if err == nil && strings.Contains(obj.Key, "date=") {
				return
			}
		}
	}
	t.Error("no access records in S3 after 20 s")
}

func publishAccess(t *testing.T, conn *bus.Conn) {
	t.Helper()
	now := time.Now().UTC()
	body, err := access.MarshalRecords([]access.Record{{SessionID: "00112233445566aa", ResourceID: 7, SourceAddr: "10.0.0.1:4000", DestAddr: "10.0.0.2:22",
		Protocol: access.TCP, StartedAt: now.Add(-time.Second), EndedAt: now, Kind: access.KindEnd, Reason: access.ReasonClosed}})
	if err == nil {
		err = access.NewPublisher(conn).Publish(t.Context(), access.Message{Resource: 7, Writer: "writer", Body: body})
	}
	if err != nil {
		t.Fatal(err)
	}
}
