package completer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// The gateway's HTTP server leaves goroutines that clean its pools and keep its
// clock; all else is ours.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// A rig is a bus, a store, and a slicer's part played by the test.
type rig struct {
	t      *testing.T
	conn   *bus.Conn
	layout bus.Layout
	real   *s3store.Store
	store  *faulty
	bucket string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{embedtest.NATS(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	layout, err := bus.Ensure(t.Context(), conn, bus.Layout{Partitions: 1, EventsMaxBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	opt := embedtest.S3(t)
	opt.Prefix = "rec"
	store, err := s3store.Open(t.Context(), opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &rig{t: t, conn: conn, layout: layout, real: store, store: &faulty{ObjectStore: store}, bucket: opt.Bucket}
}

func (r *rig) completer() *Completer {
	r.t.Helper()
	return r.completerFor(DefaultConfig().Concurrency)
}

// completerFor makes a completer that completes so many sessions at once.
func (r *rig) completerFor(concurrency int) *Completer {
	r.t.Helper()
	cfg := DefaultConfig()
	cfg.RetryMax, cfg.Drain, cfg.Concurrency = time.Second, 0, concurrency
	c, err := New(cfg, Deps{Conn: r.conn, Layout: r.layout, Store: r.store, Bucket: r.bucket})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// A session is one that the test has recorded as a slicer would.
type session struct {
	sid    string
	oneofs [][]byte // what the recording must hold, in order
	state  bus.SessionState
	ended  bus.EndedRecord
	parts  []bus.PartRecord
	log    []uploadlog.Record
}

// What shape a session has.
type shape struct {
	parts   []int // events in each part
	skip    []int // indexes left out, with the gaps logged
	outcome string
	noise   int                                // random bytes in each print, so that parts have their size
	beside  map[int64]func(r *rig, sid string) // what else comes before the event with that index
}

// record publishes a session's events, uploads its parts and writes its log.
func (r *rig) record(sid string, sh shape) *session {
	r.t.Helper()
	s := r.prepare(sid, sh)
	r.write(s)
	return s
}

// prepare does all but the log.
func (r *rig) prepare(sid string, sh shape) *session {
	r.t.Helper()
	if sh.outcome == "" {
		sh.outcome = bus.OutcomeComplete
	}
	s := &session{sid: sid, state: bus.SessionState{SID: sid, Node: "n1", Writer: "w", Opened: at(0), Seen: at(1)}}
	if len(sh.parts) > 0 {
		s.begin(r)
	}
	rnd := rand.NewChaCha8([32]byte{1})
	index, total := int64(0), 0
	for _, n := range sh.parts {
		total += n
	}
	for number, n := range sh.parts {
		part := bus.PartRecord{Number: 2*number + 1, First: -1, FirstDelay: -1, LastDelay: -1}
		var slice slicefmt.Slice
		for range n {
			for contains(sh.skip, index) {
				gap := bus.Gap{From: index, To: index + 1}
				part.Gaps, s.state.Gaps = append(part.Gaps, gap), append(s.state.Gaps, gap)
				s.state.Missing, s.state.GapCount = s.state.Missing+1, s.state.GapCount+1
				index++
			}
			if f := sh.beside[index]; f != nil {
				f(r, sid)
			}
			oneof := event(r.t, sid, index, len(s.oneofs) == total-1, sh.noise, rnd)
			s.oneofs = append(s.oneofs, oneof)
			seq := r.publish(sid, oneof)
			if part.First < 0 {
				part.First, part.FirstSeq, part.FirstEvent, part.FirstTime = index, seq, at(index), at(index)
			}
			part.Last, part.LastSeq, part.LastEvent, part.LastTime = index, seq, at(index), at(index)
			s.state.StreamSeq = seq
			if err := slice.Append(oneof); err != nil {
				r.t.Fatal(err)
			}
			index++
		}
		s.put(r, &slice, part)
	}
	s.state.Next, s.state.Events = index, int64(len(s.oneofs))
	s.ended = bus.EndedRecord{Outcome: sh.outcome, Count: index, Events: int64(len(s.oneofs)), At: at(index)}
	return s
}

func contains(list []int, i int64) bool {
	for _, n := range list {
		if int64(n) == i {
			return true
		}
	}
	return false
}

// begin creates the upload, as a base record says.
func (s *session) begin(r *rig) {
	r.t.Helper()
	key, nonce := r.real.Key(s.sid+".tar"), "nonce-"+strconv.Itoa(len(s.log))
	id, err := r.real.CreateUpload(r.t.Context(), key, map[string]string{bus.MetaNonce: nonce, bus.MetaSession: s.sid})
	if err != nil {
		r.t.Fatal(err)
	}
	s.state.Upload = &bus.UploadState{ID: id, Key: key, Nonce: nonce, Base: 1, Limit: 4}
	s.log = append(s.log, uploadlog.Record{Kind: bus.KindBase, State: s.snapshot()})
}

// snapshot is the state with an upload of its own.
func (s *session) snapshot() bus.SessionState {
	st := s.state
	if st.Upload != nil {
		up := *st.Upload
		st.Upload = &up
	}
	return st
}

// put uploads a part and makes its record.
func (s *session) put(r *rig, slice *slicefmt.Slice, part bus.PartRecord) {
	r.t.Helper()
	body, sum, err := slice.Finish(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	stored, err := r.real.PutPart(r.t.Context(), s.state.Upload.Key, s.state.Upload.ID, part.Number, body)
	if err != nil {
		r.t.Fatal(err)
	}
	part.ETag, part.Checksum, part.SHA256 = stored.ETag, stored.Checksum, sum.SHA256
	part.Bytes, part.RawBytes, part.Records = sum.Bytes, sum.RawBytes, sum.Records
	s.parts = append(s.parts, part)
	s.state.Upload.Highest, s.state.Upload.Parts = part.Number, len(s.parts)
	s.log = append(s.log, uploadlog.Record{Kind: bus.KindPart, State: s.snapshot(), Payload: encode(r.t, part)})
}

// end makes the last part's record the ended record.
func (s *session) end(t *testing.T) {
	t.Helper()
	if len(s.parts) > 0 {
		s.log = s.log[:len(s.log)-1]
		s.ended.Part = &s.parts[len(s.parts)-1]
	}
	s.state.Ended = true
	s.log = append(s.log, uploadlog.Record{Kind: bus.KindEnded, State: s.snapshot(), Payload: encode(t, s.ended)})
}

// write writes the log, with a checkpoint that was superseded left in it.
func (r *rig) write(s *session) {
	r.t.Helper()
	s.end(r.t)
	o, err := uploadlog.Claim(r.t.Context(), r.conn, 0, "slicer", nil, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	checkpoint := uploadlog.Record{Kind: bus.KindCheckpoint, State: s.log[0].State, Payload: []byte("checkpoint")}
	for _, rec := range append([]uploadlog.Record{checkpoint}, s.log...) {
		if _, err := o.Append(r.t.Context(), rec); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) publish(sid string, oneof []byte) uint64 {
	r.t.Helper()
	return r.raw("n1", sid, slicefmt.AppendFrame(nil, oneof), nil)
}

func (r *rig) raw(node, sid string, body []byte, h nats.Header) uint64 {
	r.t.Helper()
	m := &nats.Msg{Subject: bus.EventSubject(0, node, sid), Header: h, Data: body}
	ack, err := r.conn.JetStream().PublishMsg(r.t.Context(), m)
	if err != nil {
		r.t.Fatal(err)
	}
	return ack.Sequence
}

// event is session.start at index 0, session.end as the last one, else a print.
func event(t *testing.T, sid string, index int64, last bool, noise int, rnd *rand.ChaCha8) []byte {
	t.Helper()
	md := &events.Metadata{Index: index, Time: timestamppb.New(at(index)), ClusterName: "c1"}
	var e events.Event
	switch {
	case index == 0:
		md.Type, md.Code = "session.start", "T2000I"
		e = &events.SessionStart{Metadata: md, TerminalSize: "80:25",
			User: &events.UserMetadata{User: "alice", Login: "root"}, Session: &events.SessionMetadata{SessionId: sid},
			Server:     &events.ServerMetadata{ServerHostname: "web-1", ServerId: "id-1"},
			Connection: &events.ConnectionMetadata{RemoteAddr: "10.0.0.1:22"}}
	case last:
		md.Type, md.Code = "session.end", "T2004I"
		e = &events.SessionEnd{Metadata: md, Participants: []string{"alice", "bob"}}
	default:
		data := make([]byte, noise)
		_, _ = rnd.Read(data)
		md.Type = "print"
		e = &events.SessionPrint{Metadata: md, Data: append(data, fmt.Sprintf("line %d\r\n", index)...), DelayMilliseconds: 100 * index}
	}
	o, err := events.Wrap(e)
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func at(index int64) time.Time { return time.Unix(1_700_000_000+index, 0).UTC() }

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// finished waits until the session's log is one record that will go by itself.
func (r *rig) finished(sid string) {
	r.t.Helper()
	r.eventually(sid+" is finished", func() bool {
		log, err := uploadlog.ReadLog(r.t.Context(), r.conn, 0, sid)
		return err == nil && len(log.Records) == 1 && log.Last().Kind == bus.KindNotified && log.Last().Expires
	})
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// run runs n completers until the test is over or stop is called.
func (r *rig) run(n int) (stop func()) {
	r.t.Helper()
	var cs []*Completer
	for range n {
		cs = append(cs, r.completer())
	}
	return r.runAll(cs)
}

// runAll is run with completers that are made already.
func (r *rig) runAll(cs []*Completer) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, c := range cs {
		wg.Go(func() {
			if err := c.Run(ctx); err != nil {
				r.t.Errorf("run: %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	r.t.Cleanup(stop)
	return stop
}

// manifest reads a session's manifest and checks it.
func (r *rig) manifest(sid string) *slicefmt.Manifest {
	r.t.Helper()
	m, err := slicefmt.ParseManifest(r.object(sid + ".manifest.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) object(name string) []byte {
	r.t.Helper()
	body, err := r.real.Get(r.t.Context(), r.real.Key(name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// whole is the oracle: the finished recording is event for event what went in, its
// manifest agrees with it, and the world was told.
func (r *rig) whole(s *session) *slicefmt.Manifest {
	r.t.Helper()
	m := r.manifest(s.sid)
	obj, err := r.real.Head(r.t.Context(), m.Key)
	if err != nil || obj.Size != m.Bytes || obj.ETag != m.ETag || obj.Meta[bus.MetaNonce] != m.UploadNonce {
		r.t.Fatalf("object %+v, %v; manifest has %d bytes, ETag %s, nonce %s", obj, err, m.Bytes, m.ETag, m.UploadNonce)
	}
	body, err := r.real.Get(r.t.Context(), m.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	rd := slicefmt.NewReader(body)
	for i, want := range s.oneofs {
		rec, err := rd.Next()
		if err != nil || string(rec.OneOf) != string(want) {
			r.t.Fatalf("event %d of %d: index %d, %v", i, len(s.oneofs), rec.Index, err)
		}
	}
	if _, err := rd.Next(); !errors.Is(err, io.EOF) {
		r.t.Fatalf("after the last event: %v, want EOF", err)
	}
	if m.Events != int64(len(s.oneofs)) || len(m.Parts) != len(s.parts) || m.Session != s.sid {
		r.t.Fatalf("manifest has %d events, %d parts of %s; want %d, %d", m.Events, len(m.Parts), m.Session, len(s.oneofs), len(s.parts))
	}
	if n := r.told("tapedeck.notify.recording.*", s.sid); n != 1 {
		r.t.Fatalf("%d different notifications, want 1", n)
	}
	if n := r.told("tapedeck.audit.session.upload", s.sid); n != 1 {
		r.t.Fatalf("%d different session.upload events, want 1", n)
	}
	return m
}

// told counts the different messages about a session, by their id; repeats must be
// the same bytes.
func (r *rig) told(subject, sid string) int {
	r.t.Helper()
	seen := map[string]string{}
	for _, m := range r.messages(subject) {
		id := m.Headers().Get(HeaderID)
		if len(id) <= len(sid) || id[:len(sid)+1] != sid+"/" {
			continue
		}
		if before, ok := seen[id]; ok && before != string(m.Data()) {
			r.t.Errorf("message %s came again with other bytes", id)
		}
		seen[id] = string(m.Data())
	}
	return len(seen)
}

// A faulty store breaks calls of the real one.
type faulty struct {
	ObjectStore
	mu    sync.Mutex
	fault func(call string, n int) (do bool, err error) // n counts the calls of that name, from 1
	calls map[string]int
}

var errInjected = errors.New("injected")

// on breaks the nth call of a method: refused, or done and its reply lost.
func on(call string, nth int, done bool) func(string, int) (bool, error) {
	return func(c string, n int) (bool, error) {
		if c == call && n == nth {
			return done, errInjected
		}
		return true, nil
	}
}

func (f *faulty) do(call string, what func() error) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[call]++
	n, fault := f.calls[call], f.fault
	f.mu.Unlock()
	if fault == nil {
		return what()
	}
	do, err := fault(call, n)
	if do {
		if rerr := what(); err == nil {
			return rerr
		}
	}
	return err
}

func (f *faulty) CompleteUpload(ctx context.Context, key, id string, parts []s3store.Part) (etag string, err error) {
	err = f.do("complete", func() (err error) { etag, err = f.ObjectStore.CompleteUpload(ctx, key, id, parts); return err })
	return etag, err
}

func (f *faulty) Head(ctx context.Context, key string) (o s3store.Object, err error) {
	err = f.do("head", func() (err error) { o, err = f.ObjectStore.Head(ctx, key); return err })
	return o, err
}

func (f *faulty) Put(ctx context.Context, key string, body []byte, ifAbsent bool) error {
	return f.do("put", func() error { return f.ObjectStore.Put(ctx, key, body, ifAbsent) })
}

func (f *faulty) GetRange(ctx context.Context, key string, off, n int64) (rc io.ReadCloser, err error) {
	err = f.do("get", func() (err error) { rc, err = f.ObjectStore.GetRange(ctx, key, off, n); return err })
	if err != nil && rc != nil {
		_ = rc.Close()
	}
	return rc, err
}

func (f *faulty) ListParts(ctx context.Context, key, id string) (parts []s3store.Part, err error) {
	err = f.do("listparts", func() (err error) { parts, err = f.ObjectStore.ListParts(ctx, key, id); return err })
	return parts, err
}

func (f *faulty) AbortUpload(ctx context.Context, key, id string) error {
	return f.do("abort", func() error { return f.ObjectStore.AbortUpload(ctx, key, id) })
}

func (f *faulty) CreateUpload(ctx context.Context, key string, meta map[string]string) (id string, err error) {
	err = f.do("create", func() (err error) { id, err = f.ObjectStore.CreateUpload(ctx, key, meta); return err })
	return id, err
}

func (f *faulty) PutPart(ctx context.Context, key, id string, n int, body []byte) (p s3store.Part, err error) {
	err = f.do("putpart", func() (err error) { p, err = f.ObjectStore.PutPart(ctx, key, id, n, body); return err })
	return p, err
}

func (f *faulty) ListUploads(ctx context.Context, prefix string) iter.Seq2[s3store.Upload, error] {
	return f.ObjectStore.ListUploads(ctx, prefix)
}
