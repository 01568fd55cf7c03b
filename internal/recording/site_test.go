package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// at is the time of the event with an index: one a second.
func at(index int64) time.Time { return epoch.Add(time.Duration(index) * time.Second) }

// event is a print, or the session's start for index 0.
func event(t testing.TB, index int64, data []byte) []byte {
	t.Helper()
	md := &events.Metadata{Index: index, Type: "print", Time: timestamppb.New(at(index))}
	var e events.Event = &events.SessionPrint{Metadata: md, Data: data, DelayMilliseconds: index * 1000}
	if index == 0 {
		md.Type = "session.start"
		e = &events.SessionStart{Metadata: md, User: &events.UserMetadata{User: "joe"}, TerminalSize: "80:25"}
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

// lines are n events of a line each.
func lines(t testing.TB, n int64) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, event(t, i, fmt.Appendf(nil, "line %d\r\n", i)))
	}
	return all
}

// noise are n events of 60,000 bytes each that cannot be compressed.
func noise(t testing.TB, n int64) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	var all [][]byte
	for i := range n {
		data := make([]byte, 60_000)
		for j := 0; j+8 <= len(data); j += 8 {
			v := r.Uint64()
			for k := range 8 {
				data[j+k] = byte(v >> (8 * k))
			}
		}
		all = append(all, event(t, i, data))
	}
	return all
}

// build makes a recording and its manifest, as slicer and completer do, with parts
// of at least size bytes.
func build(t testing.TB, sid, key string, size int64, records [][]byte) ([]byte, *slicefmt.Manifest) {
	t.Helper()
	m := &slicefmt.Manifest{Session: sid, Key: key, Outcome: slicefmt.OutcomeComplete, Created: epoch}
	var whole []byte
	var s slicefmt.Slice
	var p slicefmt.ManifestPart
	next := int64(0)
	cut := func() {
		part, sum, err := s.Finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Number, p.Offset, p.Bytes, p.RawBytes, p.Records, p.SHA256 = len(m.Parts)+1, m.Bytes, sum.Bytes, sum.RawBytes, sum.Records, sum.SHA256
		m.Parts = append(m.Parts, p)
		m.Bytes, m.RawBytes, m.Events = m.Bytes+sum.Bytes, m.RawBytes+sum.RawBytes, m.Events+sum.Records
		whole = append(whole, part...)
	}
	for _, rec := range records {
		h, err := events.Scan(rec)
		if err != nil {
			t.Fatal(err)
		}
		if s.Records() == 0 {
			p = slicefmt.ManifestPart{FirstIndex: h.Index, FirstEvent: h.Time()}
		}
		if h.Index > next {
			m.Gaps = append(m.Gaps, slicefmt.Gap{From: next, To: h.Index})
			m.Missing, m.Outcome = m.Missing+h.Index-next, slicefmt.OutcomeGapped
		}
		next, p.LastIndex, p.LastEvent = h.Index+1, h.Index, h.Time()
		m.Count = next
		if err := s.Append(rec); err != nil {
			t.Fatal(err)
		}
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

func openStore(t testing.TB) *s3store.Store {
	t.Helper()
	store, err := s3store.Open(t.Context(), embedtest.S3(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// put stores a finished session with its manifest.
func put(t testing.TB, store *s3store.Store, sid string, size int64, records [][]byte) *slicefmt.Manifest {
	t.Helper()
	whole, m := build(t, sid, store.Key(sid+suffix), size, records)
	object(t, store, sid+suffix, whole)
	putManifest(t, store, sid, m)
	return m
}

func putManifest(t testing.TB, store *s3store.Store, sid string, m *slicefmt.Manifest) {
	t.Helper()
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	object(t, store, sid+manifestSuffix, data)
}

func object(t testing.TB, store *s3store.Store, name string, body []byte) {
	t.Helper()
	if err := store.Put(t.Context(), store.Key(name), body, false); err != nil {
		t.Fatal(err)
	}
}

// A site is an installation without services.
type site struct {
	*Library
	store *s3store.Store
	pub   *bus.Publisher
}

func newSite(t testing.TB) *site {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{embedtest.NATS(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	layout, err := bus.Ensure(t.Context(), conn, bus.Layout{
		Partitions: 2, EventsMaxBytes: 64 << 20, UploadsMaxBytes: 16 << 20,
		AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	store := openStore(t)
	pub := bus.NewPublisher(conn, layout, bus.PublisherOptions{})
	t.Cleanup(pub.Close)
	return &site{&Library{Store: store, Conn: conn, Layout: layout}, store, pub}
}

// publish sends events of a session, one a message.
func (s *site) publish(t testing.TB, sid string, records [][]byte) *bus.Stream {
	t.Helper()
	stream, err := s.pub.Open(t.Context(), "node1", sid)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		h, err := events.Scan(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Append(t.Context(), rec, h.Index); err != nil {
			t.Fatal(err)
		}
		if err := stream.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// raw publishes a message past the publisher.
func (s *site) raw(t testing.TB, node, sid string, payload []byte, header nats.Header) {
	t.Helper()
	m := nats.NewMsg(bus.EventSubject(bus.Partition(sid, s.Layout.Partitions), node, sid))
	m.Data = payload
	if header != nil {
		m.Header = header
	}
	if _, err := s.Conn.JetStream().PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// log writes a record to a session's upload log.
func (s *site) log(t testing.TB, sid, kind string, st bus.SessionState) {
	t.Helper()
	st.V, st.SID, st.Partition = bus.LogVersion, sid, bus.Partition(sid, s.Layout.Partitions)
	data, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	subject := bus.LogSubject(st.Partition, sid)
	if kind == bus.KindCheckpoint {
		subject = bus.CheckpointSubject(st.Partition, sid)
	}
	m := nats.NewMsg(subject)
	m.Header.Set(bus.HeaderKind, kind)
	m.Header.Set(bus.HeaderState, string(data))
	if _, err := s.Conn.JetStream().PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// trim drops the messages of a session's partition below the nth of the stream.
func (s *site) trim(t testing.TB, sid string, seq uint64) {
	t.Helper()
	js := s.Conn.JetStream()
	stream, err := js.Stream(t.Context(), bus.EventStream(bus.Partition(sid, s.Layout.Partitions)))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(seq)); err != nil {
		t.Fatal(err)
	}
}

// read reads a range and returns copies of its events' bytes.
func read(ctx context.Context, r *Recording, g Range) (all [][]byte, err error) {
	for rec, err := range r.Records(ctx, g) {
		if err != nil {
			return all, err
		}
		all = append(all, bytes.Clone(rec.OneOf))
	}
	return all, nil
}

func mustRead(t testing.TB, r *Recording, g Range) [][]byte {
	t.Helper()
	all, err := read(t.Context(), r, g)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("event %d of %d differs", i, len(want))
		}
	}
}

func closed(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
