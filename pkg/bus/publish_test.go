package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// Whatever is lost on the way, and whether the bus had stored the message or
// not: the events are there once and in order.
func TestEveryEventIsStoredOnceWhateverIsLost(t *testing.T) {
	lose := func(n int) func(*proxy) {
		return func(p *proxy) {
			p.set(func() {
				seen := 0
				p.loseAck = func(string) bool { seen++; return seen == n }
			})
		}
	}
	tests := []struct {
		name  string
		fault func(*proxy)
		mid   func(t *testing.T, s *site, p *proxy, count func() uint64)
	}{
		{"nothing", func(*proxy) {}, nil},
		{"acknowledgement of the first message", lose(1), nil},
		{"acknowledgement of the third message", lose(3), nil},
		{"every other acknowledgement", func(p *proxy) {
			p.set(func() {
				seen := 0
				p.loseAck = func(string) bool { seen++; return seen%2 == 1 }
			})
		}, nil},
		{"acknowledgement and connection, message stored", func(*proxy) {}, func(t *testing.T, s *site, p *proxy, count func() uint64) {
			before := count()
			p.set(func() { p.loseAck = func(string) bool { return true } })
			eventually(t, "a message is stored and its acknowledgement lost", func() (lost bool) {
				p.set(func() { lost = p.lost > 0 })
				return lost && count() > before
			})
			p.set(func() { p.loseAck = nil })
			p.cut()
		}},
		{"message and connection, nothing stored", func(*proxy) {}, func(t *testing.T, s *site, p *proxy, count func() uint64) {
			p.set(func() { p.loseSent = true })
			time.Sleep(50 * time.Millisecond)
			p.cut()
			p.set(func() { p.loseSent = false })
		}},
		{"message, connection stays", func(*proxy) {}, func(t *testing.T, s *site, p *proxy, count func() uint64) {
			// Bytes lost in the middle of the protocol end the connection; the
			// client finds out by itself.
			p.set(func() { p.loseSent = true })
			time.Sleep(100 * time.Millisecond)
			p.set(func() { p.loseSent = false })
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, small(1))
			px := newProxy(t, s.srv.URL())
			p := s.publisher(t, connect(t, px.url()), bus.PublisherOptions{})
			st := open(t, p, "node", "sid")
			appendEvents(t, st, 0, 1)
			flush(t, st)
			tt.fault(px)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := int64(1); i < 400; i++ {
					if err := st.Append(t.Context(), event(t, i, 100), i); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(500 * time.Microsecond)
				}
			})
			if tt.mid != nil {
				tt.mid(t, s, px, func() uint64 { return s.state(t, 0).LastSeq })
			}
			wg.Wait()
			flush(t, st)
			if err := st.End(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.mustHold(t, "sid", 0, 400)
			px.set(func() {
				if px.lost == 0 && tt.name != "nothing" {
					t.Error("the proxy lost nothing")
				}
			})
		})
	}
}

func (s *site) stream(t testing.TB, p int) jetstream.Stream {
	t.Helper()
	str, err := s.conn.JetStream().Stream(t.Context(), bus.EventStream(p))
	if err != nil {
		t.Fatal(err)
	}
	return str
}

func (s *site) state(t testing.TB, p int) jetstream.StreamState {
	t.Helper()
	return s.stream(t, p).CachedInfo().State
}

func TestEventsThatWaitTravelTogether(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	recs := make([][]byte, 5000)
	for i := range recs {
		recs[i] = event(t, int64(i), 100)
	}
	for i, rec := range recs {
		if err := st.Append(t.Context(), rec, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, st)
	s.mustHold(t, "sid", 0, 5000)
	if n := s.state(t, 0).Msgs; n > 1000 {
		t.Errorf("5000 events took %d messages", n)
	}
	if st.Stored() != 5000 || st.Next() != 5000 || st.Waiting() != nil {
		t.Errorf("stored %d, next %d, waiting %v", st.Stored(), st.Next(), st.Waiting())
	}
}

func TestSecondWriterIsRefusedAndNothingDoubled(t *testing.T) {
	s := newSite(t, small(1))
	a := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	b := open(t, s.publisher(t, connect(t, s.srv.URL()), bus.PublisherOptions{}), "node", "sid")
	appendEvents(t, a, 0, 10)
	flush(t, a)
	appendEvents(t, b, 0, 1)
	if err := b.Flush(t.Context()); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("second writer: %v", err)
	}
	select {
	case <-b.Done():
	case <-time.After(time.Second):
		t.Fatal("Done is open")
	}
	for name, err := range map[string]error{
		"append": b.Append(t.Context(), event(t, 1, 10), 1), "end": b.End(t.Context()),
		"alive": b.Alive(t.Context()), "close": b.Close(t.Context()), "err": b.Err(),
	} {
		if !errors.Is(err, bus.ErrConflict) {
			t.Errorf("%s after a conflict: %v", name, err)
		}
	}
	appendEvents(t, a, 10, 20)
	flush(t, a)
	s.mustHold(t, "sid", 0, 20)
}

func TestSimpleClientInBetweenIsAConflict(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	appendEvents(t, st, 0, 1)
	flush(t, st)
	if _, err := s.conn.JetStream().Publish(t.Context(), bus.EventSubject(0, "node", "sid"), event(t, 1, 10)); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, st, 1, 2)
	if err := st.Flush(t.Context()); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("after a simple client: %v", err)
	}
	s.mustHold(t, "sid", 0, 2)
}

func TestTrimmedSubjectGoesOnWithTheNextIndex(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	appendEvents(t, st, 0, 10)
	flush(t, st)
	if err := s.stream(t, 0).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, st, 10, 20)
	flush(t, st)
	s.mustHold(t, "sid", 10, 20)
}

func TestLastMessageDeletedGoesOnAfterTheOneBefore(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	for i := range int64(3) {
		appendEvents(t, st, i, i+1)
		flush(t, st)
	}
	if err := s.stream(t, 0).DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, st, 3, 4)
	flush(t, st)
	got := s.indexes(t, "sid")
	if fmt.Sprint(got) != "[0 1 3]" {
		t.Fatalf("events %v", got)
	}
}

func TestFullStreamMakesProducersWait(t *testing.T) {
	l := small(1)
	l.EventsMaxBytes = 1 << 20
	s := newSite(t, l)
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	next := int64(0)
	var full error
	for full == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if full = st.Append(ctx, event(t, next, 5000), next); full == nil {
			next++
		}
		cancel()
		if next > 1000 {
			t.Fatal("5 MB went into 1 MiB")
		}
	}
	if !errors.Is(full, context.DeadlineExceeded) || st.Err() != nil {
		t.Fatalf("append to a full stream: %v; stream: %v", full, st.Err())
	}
	var api *jetstream.APIError
	if err := st.Waiting(); !errors.As(err, &api) {
		t.Fatalf("waits for: %v", err)
	}
	if n := s.conn.Waiting(); n != 1 {
		t.Errorf("%d sessions of the connection wait", n)
	}
	before := s.indexes(t, "sid")
	if err := s.stream(t, 0).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	flush(t, st)
	if n := s.conn.Waiting(); n != 0 {
		t.Errorf("%d sessions of the connection wait for nothing", n)
	}
	mustRun(t, append(before, s.indexes(t, "sid")...), 0, next)
}

// Sessions of one partition that wait must not take the room of the others.
func TestFullPartitionDoesNotHoldUpAnother(t *testing.T) {
	s := newSite(t, small(2))
	p := s.publisher(t, s.conn, bus.PublisherOptions{MaxInFlight: 100 << 10})
	cfg := s.stream(t, 0).CachedInfo().Config
	cfg.MaxBytes = 1
	if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var stuck []*bus.Stream
	ok := ""
	for i := 0; len(stuck) < 10 || ok == ""; i++ {
		sid := fmt.Sprintf("s%d", i)
		if bus.Partition(sid, 2) == 1 {
			ok = sid
			continue
		}
		st := open(t, p, "node", sid)
		if err := st.Append(t.Context(), event(t, 0, 50_000), 0); err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, st)
	}
	eventually(t, "a session waits", func() bool { return stuck[0].Waiting() != nil })
	st := open(t, p, "node", ok)
	appendEvents(t, st, 0, 100)
	flush(t, st)
	s.mustHold(t, ok, 0, 100)
}

func TestManySessionsAtOnce(t *testing.T) {
	s := newSite(t, small(4))
	p := s.publisher(t, s.conn, bus.PublisherOptions{MaxInFlight: 64 << 10, MaxQueue: 8 << 10, AckTimeout: 5 * time.Second})
	const sessions, each = 60, 200
	var wg sync.WaitGroup
	for i := range sessions {
		st := open(t, p, "node", fmt.Sprintf("s%d", i))
		wg.Go(func() {
			for k := range int64(each) {
				if err := st.Append(t.Context(), event(t, k, 300), k); err != nil {
					t.Error(err)
					return
				}
			}
			if err := st.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range sessions {
		s.mustHold(t, fmt.Sprintf("s%d", i), 0, each)
	}
}

func TestServerRestartsInTheMiddle(t *testing.T) {
	s, cfg := restartable(t)
	c := connect(t, s.srv.URL())
	p := s.publisher(t, c, bus.PublisherOptions{})
	const sessions, each = 5, 300
	var wg sync.WaitGroup
	for i := range sessions {
		st := open(t, p, "node", fmt.Sprintf("s%d", i))
		wg.Go(func() {
			for k := range int64(each) {
				if err := st.Append(t.Context(), event(t, k, 300), k); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := st.End(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for range 2 {
		time.Sleep(150 * time.Millisecond)
		s.restart(t, cfg)
	}
	wg.Wait()
	for i := range sessions {
		s.mustHold(t, fmt.Sprintf("s%d", i), 0, each)
	}
}

func TestAppendRefusesWhatCanBeNoEventAndGoesOn(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	appendEvents(t, st, 0, 3)
	tests := []struct {
		name  string
		oneof []byte
		index int64
		want  error
	}{
		{"no OneOf", []byte("hello"), 3, events.ErrNotOneOf},
		{"empty", nil, 3, events.ErrNotOneOf},
		{"too large", make([]byte, events.MaxOneOf+1), 3, bus.ErrTooLarge},
		{"index used", event(t, 2, 10), 2, bus.ErrIndex},
		{"index not the event's", event(t, 4, 10), 3, bus.ErrIndex},
	}
	for _, tt := range tests {
		if err := st.Append(t.Context(), tt.oneof, tt.index); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	appendEvents(t, st, 3, 5)
	flush(t, st)
	s.mustHold(t, "sid", 0, 5)
}

func TestLargestEventFits(t *testing.T) {
	s := newSite(t, small(1))
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	size := events.MaxOneOf
	for len(event(t, 0, size)) > events.MaxOneOf {
		size--
	}
	if err := st.Append(t.Context(), event(t, 0, size), 0); err != nil {
		t.Fatal(err)
	}
	flush(t, st)
	s.mustHold(t, "sid", 0, 1)
}

func TestControlMessagesSayWhereTheSessionStands(t *testing.T) {
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	st := open(t, p, "a", "sid")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.Alive(t.Context()))
	appendEvents(t, st, 0, 3)
	flush(t, st)
	must(st.Alive(t.Context()))
	must(st.Handover(t.Context(), "b"))
	if err := st.Append(t.Context(), event(t, 3, 10), 3); !errors.Is(err, bus.ErrEnded) {
		t.Errorf("append after a handover: %v", err)
	}
	b, err := p.OpenAt(t.Context(), "b", "sid", st.Next())
	must(err)
	appendEvents(t, b, 3, 5)
	must(b.End(t.Context()))
	must(b.End(t.Context()))
	must(b.Close(t.Context()))
	if !errors.Is(b.Err(), bus.ErrEnded) {
		t.Errorf("after the end: %v", b.Err())
	}
	var got []string
	for m, err := range bus.Read(t.Context(), s.conn, s.layout, "sid", bus.ReadOptions{Follow: true, StopAtEnd: true}) {
		must(err)
		if m.Control != bus.ControlNone {
			got = append(got, fmt.Sprintf("%s:%s:%d:%s", m.Node, m.Control, m.Count, m.To))
		}
	}
	want := "a:alive:0: a:alive:3: a:handover:3:b b:end:5:"
	if strings.Join(got, " ") != want {
		t.Errorf("control messages %q, want %q", strings.Join(got, " "), want)
	}
	s.mustHold(t, "sid", 0, 5)
}

func TestPublisherThatClosesFailsItsStreams(t *testing.T) {
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	st := open(t, p, "node", "sid")
	p.Close()
	if err := st.Append(t.Context(), event(t, 0, 10), 0); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := p.Open(t.Context(), "node", "other"); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.publisher(t, s.conn, bus.PublisherOptions{}).Open(t.Context(), "no.de", "sid"); !errors.Is(err, bus.ErrName) {
		t.Errorf("open with a bad name: %v", err)
	}
}

func TestMessageThatTheServerNeverTakesEndsTheStream(t *testing.T) {
	s := newSite(t, small(1))
	cfg := s.stream(t, 0).CachedInfo().Config
	cfg.MaxMsgSize = 1000
	if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	st := open(t, s.publisher(t, s.conn, bus.PublisherOptions{}), "node", "sid")
	if err := st.Append(t.Context(), event(t, 0, 2000), 0); err != nil {
		t.Fatal(err)
	}
	if err := st.Flush(t.Context()); !errors.Is(err, bus.ErrTooLarge) {
		t.Fatalf("flush: %v", err)
	}
}
