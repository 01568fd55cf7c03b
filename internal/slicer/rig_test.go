package slicer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/uploadlog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// A rig is a bus, a store, slicers and producers, and knows what every session
// should hold in the end.
type rig struct {
	t      *testing.T
	url    string
	conn   *bus.Conn
	layout bus.Layout
	store  *s3store.Store
	parts  PartStore // what slicers are given; the store unless a test stands between
	cfg    Config
	wrap   func(p int, j journal) journal
	crew   int // instead of crewSize, unless 0
	meter  metric.Meter
	log    *slog.Logger
}

// quick is a Config for tests: everything that waits, waits briefly.
func quick() Config {
	c := DefaultConfig()
	c.IdleCheckpoint = 200 * time.Millisecond
	c.Holdback = time.Second
	c.CursorEvery = 20 * time.Millisecond
	c.RetryMax = 200 * time.Millisecond
	c.DrainTimeout = 5 * time.Second
	return c
}

func newRig(t *testing.T, partitions int) *rig {
	t.Helper()
	return newRigOn(t, bus.Layout{Partitions: partitions, EventsMaxBytes: 512 << 20, UploadsMaxBytes: 512 << 20})
}

func newRigOn(t *testing.T, layout bus.Layout) *rig {
	t.Helper()
	t.Parallel()
	r := &rig{t: t, url: embedtest.NATS(t), cfg: quick(), log: slog.New(slog.DiscardHandler)}
	if os.Getenv("SLICER_LOG") != "" {
		r.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r.conn = r.dial()
	var err error
	if r.layout, err = bus.Ensure(t.Context(), r.conn, layout); err != nil {
		t.Fatal(err)
	}
	if r.store, err = s3store.Open(t.Context(), embedtest.S3(t), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	r.parts = r.store
	return r
}

func (r *rig) dial() *bus.Conn {
	r.t.Helper()
	c, err := bus.Connect(r.t.Context(), bus.Options{URL: []string{r.url}}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// A node is a slicer that runs, with a connection of its own.
type node struct {
	*Slicer
	conn *bus.Conn
	stop func()
	done chan struct{}
	once sync.Once
}

func (r *rig) start() *node {
	r.t.Helper()
	n := &node{conn: r.dial(), done: make(chan struct{})}
	var err error
	n.Slicer, err = New(r.cfg, Deps{Conn: n.conn, Layout: r.layout, Store: r.parts, Log: r.log, Meter: r.meter})
	if err != nil {
		r.t.Fatal(err)
	}
	n.wrap = r.wrap
	if r.crew > 0 {
		n.crewSize = r.crew
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
	r.t.Cleanup(n.kill)
	return n
}

// read is up to where a slicer has said that it read a partition.
func (n *node) read(p int) uint64 {
	if pr := n.claims.get(p); pr != nil {
		if st := pr.now.Load(); st != nil {
			return st.read
		}
	}
	return 0
}

// leave stops a slicer gracefully.
func (n *node) leave() {
	n.stop()
	<-n.done
}

// kill stops a slicer as kill -9 would: nobody hears of it.
func (n *node) kill() {
	n.once.Do(func() {
		n.conn.Close()
		close(n.dead)
	})
	n.stop()
	<-n.done
}

// A producer publishes one session with a client of the simplest kind and
// remembers what it sent.
type producer struct {
	r         *rig
	sid, node string
	next      int64
	sent      [][]byte
	rnd       *rand.Rand
}

func (r *rig) session(sid string) *producer {
	return &producer{r: r, sid: sid, node: "n1", rnd: rand.New(rand.NewPCG(1, uint64(len(sid))))}
}

// event makes an event of the session with that index.
func (p *producer) event(index int64, data []byte) []byte {
	return printEvent(p.r.t, index, data)
}

func printEvent(t testing.TB, index int64, data []byte) []byte {
	t.Helper()
	o, err := events.Wrap(&events.SessionPrint{
		Metadata: &events.Metadata{Index: index, Type: "print", Time: timestamppb.New(time.UnixMilli(1_700_000_000_000 + index))},
		Data:     data, Bytes: int64(len(data)), DelayMilliseconds: index,
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := events.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p *producer) noise(n int) []byte {
	b := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], p.rnd.Uint64())
	}
	return b[:n]
}

// prints publishes n events of size bytes that do not compress, each messages full.
func (p *producer) prints(n, size int) {
	p.r.t.Helper()
	var frames []byte
	for range n {
		frames = append(frames, p.frame(size)...)
		if len(frames) > 200<<10 {
			p.publish(nil, frames)
			frames = nil
		}
	}
	if len(frames) > 0 {
		p.publish(nil, frames)
	}
}

// frame makes the next event and takes it for sent.
func (p *producer) frame(size int) []byte {
	e := p.event(p.next, p.noise(size))
	p.sent = append(p.sent, e)
	p.next++
	return slicefmt.AppendFrame(nil, e)
}

func (p *producer) publish(h nats.Header, payload []byte) uint64 {
	p.r.t.Helper()
	part := bus.Partition(p.sid, p.r.layout.Partitions)
	return p.r.publish(bus.EventSubject(part, p.node, p.sid), h, payload)
}

func (r *rig) publish(subject string, h nats.Header, payload []byte) uint64 {
	r.t.Helper()
	m := nats.NewMsg(subject)
	for k, v := range h {
		m.Header[k] = v
	}
	m.Data = payload
	ack, err := r.conn.JetStream().PublishMsg(r.t.Context(), m)
	if err != nil {
		r.t.Fatal(err)
	}
	return ack.Sequence
}

func control(c bus.Control, count int64) nats.Header {
	return nats.Header{bus.HeaderControl: {string(c)}, bus.HeaderCount: {strconv.FormatInt(count, 10)}}
}

func (p *producer) end() {
	p.r.t.Helper()
	p.publish(control(bus.ControlEnd, p.next), nil)
}

// within polls until ok.
func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// entries is the session's log; nil if there is none.
func (r *rig) entries(sid string) []uploadlog.Entry {
	r.t.Helper()
	l, err := uploadlog.ReadLog(r.t.Context(), r.conn, bus.Partition(sid, r.layout.Partitions), sid)
	if err != nil {
		if errors.Is(err, uploadlog.ErrNotFound) {
			return nil
		}
		r.t.Fatal(err)
	}
	return l.Records
}

// A result is what a finished session's log and parts hold.
type result struct {
	end   bus.EndedRecord
	state bus.SessionState
	parts []bus.PartRecord
	recs  [][]byte
}

// finished waits until the session's end is committed and completes its upload as
// the log says, then reads it back with a strict reader.
func (r *rig) finished(sid string) result {
	r.t.Helper()
	var log []uploadlog.Entry
	within(r.t, 60*time.Second, "end of session "+sid+" in the log", func() bool {
		log = r.entries(sid)
		return len(log) > 0 && log[len(log)-1].Kind == bus.KindEnded
	})
	last := log[len(log)-1]
	res := result{state: last.State}
	r.decode(last.Payload, &res.end)
	for _, e := range log {
		if e.Kind == bus.KindPart && e.State.Upload.ID == last.State.Upload.ID {
			var part bus.PartRecord
			r.decode(e.Payload, &part)
			res.parts = append(res.parts, part)
		}
	}
	if res.end.Part != nil {
		res.parts = append(res.parts, *res.end.Part)
	}
	if len(res.parts) > 0 {
		res.recs = r.complete(last.State.Upload, res.parts)
	}
	return res
}

func (r *rig) decode(b []byte, v any) {
	r.t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		r.t.Fatal(err)
	}
}

// complete completes the upload from the parts and returns the object's records.
func (r *rig) complete(u *bus.UploadState, parts []bus.PartRecord) [][]byte {
	r.t.Helper()
	var list []s3store.Part
	next := parts[0].First
	for i, p := range parts {
		list = append(list, s3store.Part{Number: p.Number, ETag: p.ETag, Checksum: p.Checksum, Size: p.Bytes})
		if i > 0 && p.Number <= parts[i-1].Number {
			r.t.Errorf("part %d has number %d after %d", i, p.Number, parts[i-1].Number)
		}
		if i < len(parts)-1 && p.Bytes < slicefmt.MinPartSize {
			r.t.Errorf("part %d has %d bytes", i, p.Bytes)
		}
		if p.First < next || p.Last < p.First {
			r.t.Errorf("part %d has events %d to %d after %d", i, p.First, p.Last, next)
		}
		next = p.Last + 1
	}
	if _, err := r.store.CompleteUpload(r.t.Context(), u.Key, u.ID, list); err != nil {
		r.t.Fatal(err)
	}
	body, err := r.store.Get(r.t.Context(), u.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	rd := slicefmt.NewReader(body)
	var recs [][]byte
	for {
		rec, err := rd.Next()
		if err != nil {
			if err.Error() != "EOF" {
				r.t.Fatal(err)
			}
			break
		}
		recs = append(recs, bytes.Clone(rec.OneOf))
	}
	if c := rd.Counts(); c.Duplicates != 0 {
		r.t.Errorf("recording has %d duplicates", c.Duplicates)
	}
	return recs
}

// verify waits for the end of the session and holds it against what was sent.
func (p *producer) verify() result {
	p.r.t.Helper()
	res := p.r.finished(p.sid)
	if !slices.EqualFunc(res.recs, p.sent, bytes.Equal) {
		p.r.t.Errorf("session %s: %d events sent, %d recorded, and they differ%s", p.sid, len(p.sent), len(res.recs), firstDiff(p.sent, res.recs))
	}
	if res.end.Events != int64(len(p.sent)) || res.end.Count != p.next {
		p.r.t.Errorf("session %s: log says %d events, count %d; want %d and %d", p.sid, res.end.Events, res.end.Count, len(p.sent), p.next)
	}
	return res
}

func firstDiff(want, got [][]byte) string {
	for i := range min(len(want), len(got)) {
		if !bytes.Equal(want[i], got[i]) {
			h, _ := events.Scan(got[i])
			return fmt.Sprintf(" first at %d, which has index %d", i, h.Index)
		}
	}
	return ""
}

// lates are the reasons under which messages of the session were kept.
func (r *rig) lates(sid string) []string {
	r.t.Helper()
	var out []string
	for o, err := range r.store.List(r.t.Context(), r.store.Key(sid+".late/"), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		body, err := r.store.Get(r.t.Context(), o.Key)
		if err != nil {
			r.t.Fatal(err)
		}
		var rec lateRecord
		if err := json.NewDecoder(body).Decode(&rec); err != nil {
			r.t.Fatal(err)
		}
		body.Close()
		out = append(out, rec.Reason)
	}
	return out
}

// purge deletes what the upload log has under a subject, as its time to live does.
func (r *rig) purge(subject string) {
	r.t.Helper()
	st, err := r.conn.JetStream().Stream(r.t.Context(), bus.StreamUploads)
	if err == nil {
		err = st.Purge(r.t.Context(), jetstream.WithPurgeSubject(subject))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// cursor is the partition's cursor, 0 if there is none.
func (r *rig) cursor(p int) uint64 {
	r.t.Helper()
	c, _, err := uploadlog.ReadCursor(r.t.Context(), r.conn, p)
	if err != nil && !errors.Is(err, uploadlog.ErrNotFound) {
		r.t.Fatal(err)
	}
	return c.Seq
}

// lastSeq is the newest message of the partition.
func (r *rig) lastSeq(p int) uint64 {
	r.t.Helper()
	st, err := r.conn.JetStream().Stream(r.t.Context(), bus.EventStream(p))
	if err != nil {
		r.t.Fatal(err)
	}
	return st.CachedInfo().State.LastSeq
}
