package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// syncedSite is a site whose server syncs every write.
func syncedSite(t testing.TB, l bus.Layout) *site {
	t.Helper()
	return siteOn(t, l, embed.NATSConfig{SyncAlways: true})
}

func siteOn(t testing.TB, l bus.Layout, cfg embed.NATSConfig) *site {
	t.Helper()
	s := &site{srv: embedtest.NATSServer(t, cfg)}
	s.conn = connect(t, s.srv.URL())
	var err error
	if s.layout, err = bus.Ensure(t.Context(), s.conn, l); err != nil {
		t.Fatal(err)
	}
	return s
}

// crowd are sessions that all say something at the same time.
type crowd struct {
	s       *site
	streams []*bus.Stream
	next    int64
}

func (s *site) crowd(t testing.TB, p *bus.Publisher, n int) *crowd {
	t.Helper()
	c := &crowd{s: s}
	for i := range n {
		c.streams = append(c.streams, open(t, p, "node", fmt.Sprintf("s%d", i)))
	}
	return c
}

func (c *crowd) say(t testing.TB, times int) {
	t.Helper()
	for range times {
		for _, st := range c.streams {
			if st.Err() == nil {
				appendEvents(t, st, c.next, c.next+1)
			}
		}
		c.next++
	}
}

// mustHoldAll: every session of the crowd has its events, each once and in order.
func (c *crowd) mustHoldAll(t testing.TB) {
	t.Helper()
	for _, st := range c.streams {
		flush(t, st)
	}
	for i := range c.streams {
		c.s.mustHold(t, fmt.Sprintf("s%d", i), 0, c.next)
	}
}

// messages are all of a partition.
func (s *site) messages(t testing.TB, p int) (ms []bus.Message, err error) {
	t.Helper()
	str, err := s.conn.JetStream().Stream(t.Context(), bus.EventStream(p))
	if err != nil {
		return nil, err
	}
	state := str.CachedInfo().State
	cons, err := str.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	for state.Msgs > 0 && (len(ms) == 0 || ms[len(ms)-1].Seq < state.LastSeq) {
		msg, err := cons.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			return nil, err
		}
		m, err := bus.DecodeMessage(msg)
		if err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func isBatchAck(payload string) bool { return strings.Contains(payload, `"batch":`) }

// Whatever becomes of batches: every session's events are there once and in
// order.
func TestBatchesStoreEveryEventOnceWhateverBecomesOfThem(t *testing.T) {
	tests := []struct {
		name  string
		tune  func(*server.Options)
		fault func(t *testing.T, s *site, px *proxy)
		mid   func(px *proxy)
		none  bool // no message can have travelled in a batch

		synced bool // the server syncs every write
	}{
		{name: "nothing", synced: true},
		{name: "every batch stored, its acknowledgement lost", fault: func(_ *testing.T, _ *site, px *proxy) {
			px.set(func() { px.loseAck = isBatchAck })
		}, none: true},
		{name: "every other batch stored, its acknowledgement lost", fault: func(_ *testing.T, _ *site, px *proxy) {
			seen := 0
			px.set(func() { px.loseAck = func(p string) bool { seen++; return isBatchAck(p) && seen%2 == 0 } })
		}},
		{name: "connection cut in the middle", mid: func(px *proxy) { time.Sleep(5 * time.Millisecond); px.cut() }},
		{name: "what is sent is lost for a while, and the connection", mid: func(px *proxy) {
			px.set(func() { px.loseSent = true })
			time.Sleep(20 * time.Millisecond)
			px.cut()
			px.set(func() { px.loseSent = false })
		}},
		{name: "the server takes no batch", fault: func(t *testing.T, s *site, _ *proxy) {
			cfg := s.stream(t, 0).CachedInfo().Config
			cfg.AllowAtomicPublish = false
			if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}, none: true},
		{name: "the server takes one batch at a time", tune: func(o *server.Options) { o.JetStreamLimits.MaxBatchInflightPerStream = 1 }},
		{name: "the server takes small batches only", tune: func(o *server.Options) { o.JetStreamLimits.MaxBatchSize = 20 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := siteOn(t, small(1), embed.NATSConfig{SyncAlways: tt.synced, Tune: tt.tune})
			px := newProxy(t, s.srv.URL())
			p := s.publisher(t, connect(t, px.url()), bus.PublisherOptions{AckTimeout: 500 * time.Millisecond})
			p.Gather(0)
			c := s.crowd(t, p, 100)
			if tt.fault != nil {
				tt.fault(t, s, px)
			}
			for range 3 {
				c.say(t, 2)
				if tt.mid != nil {
					tt.mid(px)
				}
			}
			c.mustHoldAll(t)
			st := p.Stats()
			if (st.Batched > 0) == tt.none {
				t.Errorf("%d of %d messages travelled in batches", st.Batched, st.Stored)
			}
		})
	}
}

// A server that has as many batches under way as it takes is not asked to take another
// at once: it tells nobody before the last message of each.
func TestNoBatchesWhileTheServerHasTooMany(t *testing.T) {
	s := siteOn(t, small(1), embed.NATSConfig{Tune: func(o *server.Options) { o.JetStreamLimits.MaxBatchInflightPerStream = 1 }})
	px := newProxy(t, s.srv.URL())
	refused := 0
	px.set(func() {
		px.loseAck = func(payload string) bool {
			if strings.Contains(payload, `"err_code":10176`) {
				refused++
			}
			return false
		}
	})
	p := s.publisher(t, connect(t, px.url()), bus.PublisherOptions{})
	p.Gather(0)
	c := s.crowd(t, p, 100)
	// Another's, which is not finished: the server forgets it after ten seconds.
	begins := &nats.Msg{Subject: bus.EventSubject(0, "node", "other"), Data: event(t, 0, 10),
		Header: nats.Header{"Nats-Batch-Id": {"another"}, "Nats-Batch-Sequence": {"1"}}}
	if _, err := s.conn.JetStream().PublishMsg(t.Context(), begins); !errors.Is(err, jetstream.ErrInvalidJSAck) {
		t.Fatalf("beginning of a batch: %v, want an empty answer", err)
	}
	began := time.Now()
	c.say(t, 30)
	c.mustHoldAll(t)
	px.set(func() {
		if most := 2 * int(1+time.Since(began)/time.Second); refused == 0 || refused > most {
			t.Errorf("%d batches refused in %s, want 1 to %d", refused, time.Since(began), most)
		}
	})
}

func TestABatchWithASecondWriterInItFailsThatSessionAlone(t *testing.T) {
	s := syncedSite(t, small(1))
	rival := open(t, s.publisher(t, connect(t, s.srv.URL()), bus.PublisherOptions{}), "node", "s70")
	appendEvents(t, rival, 0, 3)
	flush(t, rival)
	p := s.publisher(t, s.conn, bus.PublisherOptions{AckTimeout: 10 * time.Second})
	p.Gather(0)
	c := s.crowd(t, p, 150)
	c.say(t, 1)
	if err := c.streams[70].Flush(t.Context()); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("the second writer: %v", err)
	}
	c.streams = append(c.streams[:70:70], c.streams[71:]...)
	c.say(t, 3)
	for _, st := range c.streams {
		flush(t, st)
	}
	if p.Stats().Batched == 0 {
		t.Error("nothing travelled in a batch")
	}
	s.mustHold(t, "s70", 0, 3)
	for i := range 150 {
		if i != 70 {
			s.mustHold(t, fmt.Sprintf("s%d", i), 0, c.next)
		}
	}
}

func TestBatchesWaitForRoomInAFullStream(t *testing.T) {
	s := syncedSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{})
	p.Gather(0)
	c := s.crowd(t, p, 100)
	cfg := s.stream(t, 0).CachedInfo().Config
	cfg.MaxBytes = 20_000
	if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	c.say(t, 3)
	eventually(t, "sessions wait for room", func() bool {
		n := 0
		for _, st := range c.streams {
			if st.Waiting() != nil {
				n++
			}
		}
		return n > 50
	})
	cfg.MaxBytes = 64 << 20
	if _, err := s.conn.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	c.mustHoldAll(t)
}

func TestBatchesOnAClusterWhoseLeaderGoes(t *testing.T) {
	cl := embedtest.NATSCluster(t, embed.NATSConfig{})
	conn := connect(t, cl.URLs())
	l := small(1)
	l.Replicas = 3
	l, err := bus.Ensure(t.Context(), conn, l)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{layout: l, conn: conn}
	p := s.publisher(t, conn, bus.PublisherOptions{AckTimeout: time.Second})
	p.Gather(0)
	c := s.crowd(t, p, 200)
	var leaving sync.WaitGroup
	leaving.Go(func() {
		for range 2 {
			time.Sleep(100 * time.Millisecond)
			// Refused while an election is under way.
			_, _ = conn.NATS().Request("$JS.API.STREAM.LEADER.STEPDOWN."+bus.EventStream(0), nil, 2*time.Second)
		}
	})
	for range 25 {
		c.say(t, 1)
		time.Sleep(10 * time.Millisecond)
	}
	leaving.Wait()
	c.mustHoldAll(t)
	if p.Stats().Batched == 0 {
		t.Error("nothing travelled in a batch")
	}
}
