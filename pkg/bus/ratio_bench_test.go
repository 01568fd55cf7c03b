package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// busy is how many sessions publish at once in benchmarks, and eventBytes how large
// their events are with everything.
const (
	busy       = 100
	eventBytes = 275
)

func benchSite(b *testing.B, sync bool) *site {
	b.Helper()
	srv := embedtest.NATSServer(b, embed.NATSConfig{SyncAlways: sync, MaxStore: 1 << 50})
	c := connect(b, srv.URL())
	l, err := bus.Ensure(b.Context(), c, bus.Layout{Partitions: 1, EventsMaxBytes: 6 << 30, UploadsMaxBytes: 1 << 20, AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	return &site{srv: srv, layout: l, conn: c}
}

// A rate is what one side makes in each round, the sides taking turns so that what
// else the machine does falls on both alike.
type rate struct {
	name  string
	round func(n int) (done int, took time.Duration)
	got   []float64
	cpu   []float64 // the same by processor time, the server's share included
}

// race lets two sides take turns and reports how much faster the first is, by the
// middle of the rounds: times by the clock, and cpu-times by the processor time of
// both ends, which other work on the machine changes little.
func race(b *testing.B, ours, theirs *rate) {
	b.Helper()
	n := 0
	for b.Loop() {
		for _, r := range []*rate{ours, theirs} {
			before := processTime()
			done, took := r.round(n)
			r.cpu = append(r.cpu, float64(done)/(processTime()-before).Seconds())
			r.got = append(r.got, float64(done)/took.Seconds())
		}
		n++
	}
	middle := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	for _, r := range []*rate{ours, theirs} {
		b.ReportMetric(middle(r.got), r.name+"/s")
	}
	b.ReportMetric(middle(ours.got)/middle(theirs.got), "times")
	b.ReportMetric(middle(ours.cpu)/middle(theirs.cpu), "cpu-times")
}

// publishSessions publishes n events from busy sessions through a publisher, and
// waits until the bus has them.
func publishSessions(b *testing.B, s *site, p *bus.Publisher, round, n int, recs [][]byte) (int, time.Duration) {
	b.Helper()
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range busy {
		st := open(b, p, "node", fmt.Sprintf("ours-%d-%d", round, i))
		wg.Go(func() {
			for k := range n / busy {
				if err := st.Append(b.Context(), recs[k], int64(k)); err != nil {
					b.Error(err)
					return
				}
			}
			if err := st.Flush(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	return n, time.Since(begin)
}

// publishRaw publishes the same as nats.go does it by itself: one event a message.
func publishRaw(b *testing.B, js jetstream.JetStream, round, n int, recs [][]byte) (int, time.Duration) {
	b.Helper()
	begin := time.Now()
	for k := range n {
		m := &nats.Msg{Subject: bus.EventSubject(0, "node", fmt.Sprintf("raw-%d-%d", round, k%busy)), Data: recs[k/busy]}
		for {
			_, err := js.PublishMsgAsync(m)
			if err == nil {
				break
			}
			if !errors.Is(err, jetstream.ErrTooManyStalledMsgs) {
				b.Fatal(err)
			}
		}
	}
	<-js.PublishAsyncComplete()
	return n, time.Since(begin)
}

// BenchmarkRatioPublish is the publisher against PublishAsync of one event a message,
// 100 busy sessions of 300-byte events.
func BenchmarkRatioPublish(b *testing.B) {
	for _, sync := range []struct {
		name      string
		always    bool
		ours, raw int // events a round
	}{{"default-sync", false, 100_000, 20_000}, {"sync-always", true, 100_000, 1_000}} {
		b.Run(sync.name, func(b *testing.B) {
			s := benchSite(b, sync.always)
			recs := make([][]byte, sync.ours/busy)
			for i := range recs {
				recs[i] = event(b, int64(i), eventBytes)
			}
			p := bus.NewPublisher(s.conn, s.layout, bus.PublisherOptions{AckTimeout: time.Minute})
			defer p.Close()
			c := connect(b, s.srv.URL())
			js, err := jetstream.New(c.NATS(), jetstream.WithPublishAsyncMaxPending(4000))
			if err != nil {
				b.Fatal(err)
			}
			race(b,
				&rate{name: "publisher", round: func(i int) (int, time.Duration) { return publishSessions(b, s, p, i, sync.ours, recs) }},
				&rate{name: "PublishAsync", round: func(i int) (int, time.Duration) { return publishRaw(b, js, i, sync.raw, recs) }})
		})
	}
}

// BenchmarkRatioRead is reading one session through this package, each of its records
// looked at, against a raw ordered consumer that takes its messages: bytes a second.
func BenchmarkRatioRead(b *testing.B) {
	const n, messages = 200_000, 1000
	for _, size := range []struct {
		name  string
		flush int // events a message, at most
	}{{"messages-of-64KiB", n}, {"messages-of-one-event", 1}} {
		b.Run(size.name, func(b *testing.B) {
			s := benchSite(b, false)
			p := bus.NewPublisher(s.conn, s.layout, bus.PublisherOptions{AckTimeout: time.Minute})
			defer p.Close()
			st := open(b, p, "node", "sid")
			total := n
			if size.flush == 1 {
				total = 20 * messages
			}
			bytes := 0
			for i := range int64(total) {
				rec := event(b, i, eventBytes)
				bytes += len(rec)
				if err := st.Append(b.Context(), rec, i); err != nil {
					b.Fatal(err)
				}
				if size.flush == 1 {
					flush(b, st)
				}
			}
			if err := st.End(b.Context()); err != nil {
				b.Fatal(err)
			}
			race(b,
				&rate{name: "read-bytes", round: func(int) (int, time.Duration) { return readSession(b, s, bytes) }},
				&rate{name: "raw-bytes", round: func(int) (int, time.Duration) { return readRaw(b, s, bytes) }})
		})
	}
}

func readSession(b *testing.B, s *site, want int) (int, time.Duration) {
	b.Helper()
	begin, got := time.Now(), 0
	for m, err := range bus.Read(b.Context(), s.conn, s.layout, "sid", bus.ReadOptions{Node: "node", StopAtEnd: true}) {
		if err != nil {
			b.Fatal(err)
		}
		for rec, err := range m.Records() {
			if err != nil {
				b.Fatal(err)
			}
			got += len(rec)
		}
	}
	if got != want {
		b.Fatalf("read %d bytes, want %d", got, want)
	}
	return got, time.Since(begin)
}

// readRaw stops at the end message, as the other does.
func readRaw(b *testing.B, s *site, want int) (int, time.Duration) {
	b.Helper()
	begin := time.Now()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	cons, err := s.conn.JetStream().OrderedConsumer(ctx, bus.EventStream(0), jetstream.OrderedConsumerConfig{FilterSubjects: []string{bus.EventSubject(0, "node", "sid")}})
	if err != nil {
		b.Fatal(err)
	}
	it, err := cons.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer it.Stop()
	for {
		m, err := it.Next()
		if err != nil {
			b.Fatal(err)
		}
		if m.Headers().Get(bus.HeaderControl) != "" {
			return want, time.Since(begin)
		}
	}
}
