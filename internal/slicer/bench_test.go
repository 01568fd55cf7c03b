package slicer_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/internal/slicer"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// A bench is a bus, a store and a slicer, all in this process.
type bench struct {
	url    string
	conn   *bus.Conn
	layout bus.Layout
	ended  chan string // sessions whose end is committed
}

func newBench(b *testing.B) *bench {
	b.Helper()
	x := &bench{url: embedtest.NATSServer(b, embed.NATSConfig{MaxStore: 1 << 50}).URL(), ended: make(chan string, 1<<17)}
	x.conn = x.dial(b)
	var err error
	x.layout, err = bus.Ensure(b.Context(), x.conn, bus.Layout{Partitions: 1, EventsMaxBytes: 8 << 30, UploadsMaxBytes: 1 << 30, AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	_, err = x.conn.NATS().Subscribe(bus.LogSubject(0, "*"), func(m *nats.Msg) {
		if m.Header.Get(bus.HeaderKind) == bus.KindEnded {
			x.ended <- m.Subject
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return x
}

func (x *bench) dial(b *testing.B) *bus.Conn {
	b.Helper()
	c, err := bus.Connect(b.Context(), bus.Options{URL: []string{x.url}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

// slice runs a slicer until the benchmark is over.
func (x *bench) slice(b *testing.B) {
	b.Helper()
	store, err := s3store.Open(b.Context(), embedtest.S3(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	cfg := slicer.DefaultConfig()
	cfg.DrainTimeout = time.Second
	s, err := slicer.New(cfg, slicer.Deps{Conn: x.dial(b), Layout: x.layout, Store: store})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { stop(); wg.Wait(); _ = store.Close() })
}

// listing are n events of 300 bytes of what programs write.
func listing(b *testing.B, n int) [][]byte {
	b.Helper()
	recs, at := make([][]byte, n), time.Unix(1_637_249_639, 0)
	for i := range recs {
		data := []byte(nil)
		for k := 0; len(data) < 260; k++ {
			data = fmt.Appendf(data, "-rw-r--r-- 1 root root %6d May  4 12:%02d file-%04x\r\n", i*7919%999_983, i%60, i*31+k)
		}
		one, err := events.Wrap(&events.SessionPrint{Metadata: &events.Metadata{Index: int64(i), Type: "print", Time: timestamppb.New(at.Add(time.Duration(i) * time.Millisecond))}, Data: data[:260], Bytes: 260, ChunkIndex: int64(i)})
		if err != nil {
			b.Fatal(err)
		}
		if recs[i], err = events.Marshal(one); err != nil {
			b.Fatal(err)
		}
	}
	return recs
}

const sessions = 100

// archive publishes sessions through a publisher and waits until S3 has each and its
// end is committed.
func (x *bench) archive(b *testing.B, p *bus.Publisher, round int, recs [][]byte) time.Duration {
	b.Helper()
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			st, err := p.Open(b.Context(), "node", fmt.Sprintf("ours-%d-%d", round, i))
			for k := 0; k < len(recs) && err == nil; k++ {
				err = st.Append(b.Context(), recs[k], int64(k))
			}
			if err == nil {
				err = st.End(b.Context())
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	for range sessions {
		select {
		case <-x.ended:
		case <-time.After(2 * time.Minute):
			b.Fatal("sessions do not end")
		}
	}
	return time.Since(begin)
}

// passOn publishes the same with nats.go alone, one event a message, while a consumer
// takes every message and does nothing with it.
func (x *bench) passOn(b *testing.B, js jetstream.JetStream, round int, recs [][]byte) time.Duration {
	b.Helper()
	begin, n := time.Now(), len(recs)*sessions
	cons, err := js.OrderedConsumer(b.Context(), bus.EventStream(0), jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		b.Fatal(err)
	}
	it, err := cons.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer it.Stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			if _, err := it.Next(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	for k := range n {
		m := &nats.Msg{Subject: bus.EventSubject(0, "node", fmt.Sprintf("raw-%d-%d", round, k%sessions)), Data: recs[k/sessions]}
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
	wg.Wait()
	return time.Since(begin)
}

// BenchmarkRatioEndToEnd is publishing until everything is committed in S3, against
// publishing and consuming one event a message with nothing done to it. The two take
// turns, each with a bus of its own. times is by the clock, cpu-times by the processor
// time of everything on either side, servers included.
func BenchmarkRatioEndToEnd(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("%d-events-a-session", n), func(b *testing.B) { endToEnd(b, n) })
	}
}

func endToEnd(b *testing.B, events int) {
	ours, raw := newBench(b), newBench(b)
	ours.slice(b)
	recs := listing(b, events)
	p := bus.NewPublisher(ours.conn, ours.layout, bus.PublisherOptions{AckTimeout: time.Minute})
	defer p.Close()
	js, err := jetstream.New(raw.conn.NATS(), jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	few := recs[:min(events, 200)]
	var a, c, acpu, ccpu []float64
	for round := 0; b.Loop(); round++ {
		t0 := processTime()
		a = append(a, float64(sessions*events)/ours.archive(b, p, round, recs).Seconds())
		t1 := processTime()
		c = append(c, float64(sessions*len(few))/raw.passOn(b, js, round, few).Seconds())
		t2 := processTime()
		acpu = append(acpu, float64(sessions*events)/(t1-t0).Seconds())
		ccpu = append(ccpu, float64(sessions*len(few))/(t2-t1).Seconds())
	}
	middle := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(middle(a), "archived/s")
	b.ReportMetric(middle(c), "passed-on/s")
	b.ReportMetric(middle(a)/middle(c), "times")
	b.ReportMetric(middle(acpu)/middle(ccpu), "cpu-times")
}

// BenchmarkOpenSessions is the memory that an open session with a few lines of output
// takes: in the slicer, and in the server, which is in this process too.
func BenchmarkOpenSessions(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				openSessions(b, n)
			}
		})
	}
}

func openSessions(b *testing.B, n int) {
	const each = 10
	x, recs := newBench(b), listing(b, each)
	x.slice(b)
	before := heap()
	p := bus.NewPublisher(x.dial(b), x.layout, bus.PublisherOptions{AckTimeout: time.Minute})
	streams := make([]*bus.Stream, n)
	var err error
	for i := range streams {
		if streams[i], err = p.Open(b.Context(), "node", fmt.Sprintf("session-%d", i)); err != nil {
			b.Fatal(err)
		}
		for k, rec := range recs {
			if err := streams[i].Append(b.Context(), rec, int64(k)); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, st := range streams {
		if err := st.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	clear(streams)
	p.Close()
	x.read(b)
	b.ReportMetric(float64(heap()-before)/float64(n), "B/session")
}

// read waits until the slicer has read everything: a session that is published last
// and is over has been committed then.
func (x *bench) read(b *testing.B) {
	b.Helper()
	p := bus.NewPublisher(x.conn, x.layout, bus.PublisherOptions{})
	defer p.Close()
	st, err := p.Open(b.Context(), "node", "last")
	if err == nil {
		err = st.End(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	select {
	case <-x.ended:
	case <-time.After(2 * time.Minute):
		b.Fatal("the slicer does not come to the end")
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
