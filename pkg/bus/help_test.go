package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// small is a layout that fits many times into a test's server.
func small(partitions int) bus.Layout {
	return bus.Layout{
		Partitions: partitions, EventsMaxBytes: 64 << 20, UploadsMaxBytes: 16 << 20,
		AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20,
	}
}

// A site is an installation with a server of its own and an operator's
// connection, which sees everything.
type site struct {
	srv    *embed.NATS
	layout bus.Layout
	conn   *bus.Conn
}

func newSite(t testing.TB, l bus.Layout) *site {
	t.Helper()
	srv := embedtest.NATSServer(t, embed.NATSConfig{})
	c := connect(t, srv.URL())
	l, err := bus.Ensure(t.Context(), c, l)
	if err != nil {
		t.Fatal(err)
	}
	return &site{srv: srv, layout: l, conn: c}
}

func connect(t testing.TB, url string, extra ...nats.Option) *bus.Conn {
	t.Helper()
	return connectAs(t, bus.Options{URL: []string{url}}, extra...)
}

func connectAs(t testing.TB, o bus.Options, extra ...nats.Option) *bus.Conn {
	t.Helper()
	c, err := bus.Connect(t.Context(), o, nil, extra...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (s *site) publisher(t testing.TB, c *bus.Conn, o bus.PublisherOptions) *bus.Publisher {
	t.Helper()
	if o.AckTimeout == 0 {
		o.AckTimeout = 300 * time.Millisecond
	}
	p := bus.NewPublisher(c, s.layout, o)
	t.Cleanup(p.Close)
	return p
}

func open(t testing.TB, p *bus.Publisher, node, sid string) *bus.Stream {
	t.Helper()
	s, err := p.Open(t.Context(), node, sid)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// event is a print with an index, whose data says the index too.
func event(t testing.TB, index int64, size int) []byte {
	t.Helper()
	data := fmt.Appendf(nil, "event %d ", index)
	for len(data) < size {
		data = append(data, byte('a'+index%26))
	}
	b, err := events.Marshal(&events.OneOf{Event: &events.OneOf_SessionPrint{SessionPrint: &events.SessionPrint{
		Metadata: &events.Metadata{Index: index, Type: "print"}, Data: data, Bytes: int64(len(data)),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func appendEvents(t testing.TB, s *bus.Stream, from, to int64) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.Append(t.Context(), event(t, i, 100), i); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t testing.TB, s *bus.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// indexes are those of the events of a session on the bus, in its order.
func (s *site) indexes(t testing.TB, sid string) []int64 {
	t.Helper()
	var got []int64
	for m, err := range bus.Read(t.Context(), s.conn, s.layout, sid, bus.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, indexesOf(t, m)...)
	}
	return got
}

func indexesOf(t testing.TB, m bus.Message) []int64 {
	t.Helper()
	var got []int64
	for rec, err := range m.Records() {
		if err != nil {
			t.Fatal(err)
		}
		h, err := events.Scan(rec)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Index)
	}
	if len(got) > 0 && m.First >= 0 && m.First != got[0] {
		t.Errorf("message %d says that it begins with event %d, it begins with %d", m.Seq, m.First, got[0])
	}
	return got
}

// mustHold is the oracle: the session has the events from up to to, each once
// and in order.
func (s *site) mustHold(t testing.TB, sid string, from, to int64) {
	t.Helper()
	mustRun(t, s.indexes(t, sid), from, to)
}

func mustRun(t testing.TB, got []int64, from, to int64) {
	t.Helper()
	if int64(len(got)) != to-from {
		t.Fatalf("%d events, want %d to %d: %v", len(got), from, to, got)
	}
	for i, index := range got {
		if index != from+int64(i) {
			t.Fatalf("event %d has index %d, want %d", i, index, from+int64(i))
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not after 15 s: %s", what)
}
