package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/recording"
	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/internal/web/sessions"
	"github.com/tapedeck-io/tapedeck/internal/web/token"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A site is an installation with a server of the page and no other services: tests
// put finished recordings into the store and publish live ones themselves.
type site struct {
	t      testing.TB
	url    string
	admin  string // a token
	tokens *token.File
	index  *sessions.Index
	store  *s3store.Store
	conn   *bus.Conn
	layout bus.Layout
	lib    *recording.Library
	count  *countingStore
	rec    *recorder.Recorder
	makes  web.Indexer       // nil: nobody makes seek indexes
	before func(*web.Server) // nil, or what is done to a server before it runs
	stop   func()
}

type option func(*web.Config)

func newSite(t testing.TB, opts ...option) *site {
	t.Helper()
	s := &site{t: t}
	ctx := t.Context()
	var err error
	s.conn, err = bus.Connect(ctx, bus.Options{URL: []string{embedtest.NATS(t)}}, nil)
	must(t, err)
	t.Cleanup(s.conn.Close)
	s.layout, err = bus.Ensure(ctx, s.conn, bus.Layout{
		Partitions: 2, EventsMaxBytes: 256 << 20, UploadsMaxBytes: 16 << 20, AccessMaxBytes: 1 << 20, AuditMaxBytes: 4 << 20, NotifyMaxBytes: 1 << 20,
	})
	must(t, err)
	s.store, err = s3store.Open(ctx, embedtest.S3(t), nil)
	must(t, err)
	t.Cleanup(func() { _ = s.store.Close() })
	s.count = &countingStore{Store: s.store}
	s.lib = &recording.Library{Store: s.count, Conn: s.conn, Layout: s.layout}
	s.rec, err = recorder.New(s.conn, s.layout, recorder.Options{Node: "node1"})
	must(t, err)
	dir := t.TempDir()
	s.tokens = token.Open(filepath.Join(dir, "tokens.json"))
	s.admin = s.token(token.Token{Name: "admin", Role: token.Admin})
	s.index, err = sessions.Open(ctx, filepath.Join(dir, "sessions.db"))
	must(t, err)
	t.Cleanup(func() { _ = s.index.Close() })
	s.serve(opts...)
	return s
}

func (s *site) serve(opts ...option) {
	s.t.Helper()
	cfg := web.Config{Listen: "127.0.0.1:0"}
	for _, o := range opts {
		o(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(s.t.Output(), nil))
	}
	server, err := web.New(cfg, web.Deps{Library: s.lib, Index: s.index, Tokens: s.tokens, Indexer: s.makes, Log: log})
	must(s.t, err)
	if s.before != nil {
		s.before(server)
	}
	s.url, err = server.Listen(s.t.Context())
	must(s.t, err)
	s.url = strings.TrimSuffix(s.url, "/")
	if cfg.PublicURL != "" {
		s.url = "http://" + cfg.Listen
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("server: %v", err)
		}
	}
	s.t.Cleanup(s.stop)
}

func (s *site) token(t token.Token) string {
	s.t.Helper()
	made, err := s.tokens.Add(t, false)
	must(s.t, err)
	return made
}

// request makes a request of the API with a token, "" for none.
func (s *site) request(tok, method, path string, body io.Reader) *http.Request {
	s.t.Helper()
	if strings.HasPrefix(path, "/sessions") || path == "/me" || method == http.MethodPost && strings.HasPrefix(path, "/log") || path == "/openapi.yaml" {
		path = "/api/v1" + path
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	must(s.t, err)
	if tok != "" {
		r.Header.Set("Authorization", "Bearer "+tok)
	}
	return r
}

// answer is an answer that was read whole.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
}

func (s *site) do(r *http.Request) answer {
	s.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	must(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(body)}
}

func (s *site) get(path string) answer {
	s.t.Helper()
	return s.do(s.request(s.admin, http.MethodGet, path, nil))
}

// want gets a path that must be answered well, into v if that is not nil.
func (s *site) want(path string, v any) string {
	s.t.Helper()
	a := s.get(path)
	if a.status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", path, a.status, a.body)
	}
	if v != nil {
		must(s.t, json.Unmarshal([]byte(a.body), v))
	}
	return a.body
}

// wantError checks that an answer is an error of a code.
func wantError(t testing.TB, a answer, status int, code string) {
	t.Helper()
	var e struct{ Error, Code string }
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != status || e.Code != code || e.Error == "" || strings.Contains(e.Error, "\n") {
		t.Errorf("answer is %d %q; want %d with code %s and one line", a.status, a.body, status, code)
	}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// listed waits until a session is in the list in a state.
func (s *site) listed(sid, state string) sessions.Session {
	s.t.Helper()
	var got sessions.Session
	eventually(s.t, sid+" is "+state, func() bool {
		a := s.get("/sessions/" + sid)
		return a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &got) == nil && got.State == state && s.indexed(sid, state)
	})
	return got
}

func (s *site) indexed(sid, state string) bool {
	found, err := s.index.Get(s.t.Context(), sid)
	return err == nil && found.State == state
}

var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// A tape makes the events of a session.
type script struct {
	t       testing.TB
	records [][]byte
	at      time.Duration
	offset  int64
}

func newScript(t testing.TB, start events.Event) *script {
	s := &script{t: t}
	s.add(start)
	return s
}

// terminal is the script of a session at a terminal.
func terminal(t testing.TB, user, host string) *script {
	return newScript(t, &events.SessionStart{
		TerminalSize: "80:24", User: &events.UserMetadata{User: user, Login: "root"}, Server: &events.ServerMetadata{ServerHostname: host},
	})
}

func (s *script) add(e events.Event) *script {
	s.t.Helper()
	index := int64(len(s.records))
	md := &events.Metadata{Index: index, Type: typeOf(e), Time: timestamppb.New(epoch.Add(s.at))}
	m := e.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("metadata"), valueOf(md))
	o, err := events.Wrap(e)
	must(s.t, err)
	b, err := events.Marshal(o)
	must(s.t, err)
	s.records = append(s.records, b)
	return s
}

func (s *script) wait(d time.Duration) *script { s.at += d; return s }

func (s *script) print(data string) *script {
	s.t.Helper()
	s.add(&events.SessionPrint{Data: []byte(data), Bytes: int64(len(data)), DelayMilliseconds: s.at.Milliseconds(), Offset: s.offset})
	s.offset += int64(len(data))
	return s
}

func (s *script) message(m []byte) *script {
	s.t.Helper()
	return s.add(&events.DesktopRecording{Message: m, DelayMilliseconds: s.at.Milliseconds()})
}

// build makes a recording and its manifest, with parts of at least size bytes.
func build(t testing.TB, sid, key string, size int64, records [][]byte) ([]byte, *slicefmt.Manifest) {
	t.Helper()
	m := &slicefmt.Manifest{Session: sid, Key: key, Outcome: slicefmt.OutcomeComplete, Created: epoch, UploadNonce: "nonce-" + sid}
	var whole []byte
	var s slicefmt.Slice
	var p slicefmt.ManifestPart
	next := int64(0)
	cut := func() {
		part, sum, err := s.Finish(nil)
		must(t, err)
		p.Number, p.Offset, p.Bytes, p.RawBytes, p.Records, p.SHA256 = len(m.Parts)+1, m.Bytes, sum.Bytes, sum.RawBytes, sum.Records, sum.SHA256
		m.Parts = append(m.Parts, p)
		m.Bytes, m.RawBytes, m.Events = m.Bytes+sum.Bytes, m.RawBytes+sum.RawBytes, m.Events+sum.Records
		whole = append(whole, part...)
	}
	for _, rec := range records {
		h, err := events.Scan(rec)
		must(t, err)
		if s.Records() == 0 {
			p = slicefmt.ManifestPart{FirstIndex: h.Index, FirstEvent: h.Time()}
		}
		if h.Index > next {
			m.Gaps = append(m.Gaps, slicefmt.Gap{From: next, To: h.Index})
			m.Missing, m.Outcome = m.Missing+h.Index-next, slicefmt.OutcomeGapped
		}
		next, p.LastIndex, p.LastEvent = h.Index+1, h.Index, h.Time()
		m.Count = next
		must(t, s.Append(rec))
		m.Metadata.Observe(h, rec)
		if s.Size() >= size+slicefmt.BlockSize {
			cut()
		}
	}
	if s.Records() > 0 {
		cut()
	}
	return whole, m
}

// finished stores a finished session, in one part, and waits until it is listed.
func (s *site) finished(sid string, sc *script) *slicefmt.Manifest {
	s.t.Helper()
	m := s.put(sid, 1<<30, sc.records)
	s.sync()
	return m
}

func (s *site) put(sid string, size int64, records [][]byte) *slicefmt.Manifest {
	s.t.Helper()
	whole, m := build(s.t, sid, s.store.Key(sid+".tar"), size, records)
	s.object(sid+".tar", whole)
	s.manifest(sid, m)
	return m
}

func (s *site) manifest(sid string, m *slicefmt.Manifest) {
	s.t.Helper()
	data, err := m.Marshal()
	must(s.t, err)
	s.object(sid+".manifest.json", data)
}

func (s *site) object(name string, body []byte) {
	s.t.Helper()
	must(s.t, s.store.Put(s.t.Context(), s.store.Key(name), body, false))
}

func (s *site) keeper() *sessions.Keeper {
	return &sessions.Keeper{Index: s.index, Library: s.lib, Log: slog.New(slog.DiscardHandler)}
}

// sync brings the list up to date with what a test has put into the store.
func (s *site) sync() {
	s.t.Helper()
	must(s.t, s.keeper().Sync(s.t.Context()))
}

// live begins a session on the bus.
func (s *site) live(sid, user, host string) *recorder.Session {
	s.t.Helper()
	l, err := s.rec.Start(s.t.Context(), recorder.Spec{ID: sid, User: user, Login: "root", ServerHostname: host, Width: 80, Height: 24})
	must(s.t, err)
	return l
}

// An sseEvent is one server-sent event.
type sseEvent struct{ id, event, data string }

// A stream is an answer of server-sent events that is being read.
type stream struct {
	t    testing.TB
	resp *http.Response
	sc   *bufio.Scanner
}

func (s *site) stream(tok, path string, header ...string) *stream {
	s.t.Helper()
	r := s.request(tok, http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	must(s.t, err)
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("GET %s: %d %s %s", path, resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 1<<20)
	return &stream{s.t, resp, sc}
}

// next is the next event, or ok is false at the end.
func (st *stream) next() (e sseEvent, ok bool) {
	for st.sc.Scan() {
		line := st.sc.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && e != (sseEvent{}):
			return e, true
		case name == "id":
			e.id = value
		case name == "event":
			e.event = value
		case name == "data":
			e.data = value
		}
	}
	return e, false
}

// until reads on until an event that f takes.
func (st *stream) until(what string, f func(sseEvent) bool) sseEvent {
	st.t.Helper()
	for {
		e, ok := st.next()
		if !ok {
			st.t.Fatalf("stream ended before %s: %v", what, st.sc.Err())
		}
		if f(e) {
			return e
		}
	}
}

// all reads to the end.
func (st *stream) all() []sseEvent {
	var all []sseEvent
	for e, ok := st.next(); ok; e, ok = st.next() {
		all = append(all, e)
	}
	return all
}

// outputOf is the text of lines of output.
func outputOf(t testing.TB, lines string) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(lines) {
		var l []any
		must(t, json.Unmarshal([]byte(line), &l))
		if l[2] == "o" {
			text.WriteString(l[3].(string))
		}
	}
	return text.String()
}

// noise is n bytes that cannot be compressed, all printable.
func noise(n int, seed uint64) string {
	var b bytes.Buffer
	x := seed*2862933555777941757 + 3037000493
	for b.Len() < n {
		x = x*6364136223846793005 + 1442695040888963407
		b.WriteByte(byte(33 + (x>>33)%90))
	}
	return b.String()
}

func name(prefix string, n int) string { return fmt.Sprintf("%s-%04d", prefix, n) }
