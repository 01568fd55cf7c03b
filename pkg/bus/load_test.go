package bus_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestIdleSessionsCostNoGoroutineAndLittleMemory(t *testing.T) {
	s := newSite(t, small(1))
	p := s.publisher(t, s.conn, bus.PublisherOptions{AckTimeout: 20 * time.Second})
	warm := open(t, p, "node", "warm")
	appendEvents(t, warm, 0, 1)
	flush(t, warm)
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	const n = 10_000
	streams := make([]*bus.Stream, n)
	rec := event(t, 0, 100)
	for i := range streams {
		streams[i] = open(t, p, "node", fmt.Sprintf("session-%d", i))
		if err := streams[i].Append(t.Context(), rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, st := range streams {
		flush(t, st)
	}
	// The server is in this process too, so its share is in the figure: some
	// hundred bytes for each subject.
	each := (int64(heapInUse()) - int64(heap)) / n
	more := runtime.NumGoroutine() - goroutines
	t.Logf("%d bytes of heap each, %d goroutines more for %d sessions", each, more, n)
	if each > 2048 {
		t.Errorf("an idle session costs %d bytes", each)
	}
	if more > 50 {
		t.Errorf("%d goroutines more", more)
	}
	runtime.KeepAlive(streams)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestPublisherThatClosesLeavesNoGoroutine(t *testing.T) {
	s := newSite(t, small(1))
	c := connect(t, s.srv.URL())
	if _, err := bus.Inspect(t.Context(), c); err != nil { // what nats.go keeps for good is there now
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	p := bus.NewPublisher(c, s.layout, bus.PublisherOptions{})
	other := bus.NewPublisher(c, s.layout, bus.PublisherOptions{})
	st, rival := open(t, p, "node", "sid"), open(t, other, "node", "sid")
	for i := range int64(100) { // one of them asks why it was refused
		_ = st.Append(t.Context(), event(t, i, 100), i)
		_ = rival.Append(t.Context(), event(t, i, 100), i)
	}
	p.Close()
	other.Close()
	if !errors.Is(st.Err(), bus.ErrClosed) && !errors.Is(st.Err(), bus.ErrConflict) {
		t.Error(st.Err())
	}
	goleak.VerifyNone(t, before)
}

// Three servers, and each of them goes and comes back while sessions publish:
// leaders change, replicas lag, answers get lost.
func TestServersOfAClusterRestartInTheMiddle(t *testing.T) {
	cl := embedtest.NATSCluster(t, embed.NATSConfig{})
	c := connect(t, cl.URLs())
	l := small(2)
	l.Replicas = 3
	l, err := bus.Ensure(t.Context(), c, l)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{layout: l, conn: c}
	p := s.publisher(t, c, bus.PublisherOptions{AckTimeout: time.Second})
	stop := make(chan struct{})
	const sessions = 6
	var counts [sessions]int64
	var wg sync.WaitGroup
	for i := range sessions {
		st := open(t, p, "node", fmt.Sprintf("s%d", i))
		wg.Go(func() {
			for k := int64(0); ; k++ {
				select {
				case <-stop:
					counts[i] = k
					if err := st.End(t.Context()); err != nil {
						t.Error(err)
					}
					return
				case <-time.After(2 * time.Millisecond):
				}
				if err := st.Append(t.Context(), event(t, k, 300), k); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range cl.Nodes {
		time.Sleep(300 * time.Millisecond)
		cl.Stop(i)
		time.Sleep(700 * time.Millisecond)
		cl.Start(t, i)
		eventually(t, "the server is current again", func() bool { return cl.Nodes[i].Server().JetStreamIsCurrent() })
	}
	close(stop)
	wg.Wait()
	for i := range sessions {
		s.mustHold(t, fmt.Sprintf("s%d", i), 0, counts[i])
	}
}

// The figure to look at is events/s: one event a message against what the
// publisher makes of it, 100 busy sessions of 300-byte events.
func BenchmarkPublish(b *testing.B) {
	const sessions = 100
	setup := func(b *testing.B) *site {
		return newSite(b, bus.Layout{Partitions: 1, EventsMaxBytes: 6 << 30, UploadsMaxBytes: 1 << 20, AccessMaxBytes: 1 << 20, AuditMaxBytes: 1 << 20, NotifyMaxBytes: 1 << 20})
	}
	records := func(b *testing.B) [][]byte {
		recs := make([][]byte, b.N/sessions+1)
		for i := range recs {
			recs[i] = event(b, int64(i), 275)
		}
		b.SetBytes(int64(len(recs[0])))
		return recs
	}
	rate := func(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s") }
	b.Run("publisher", func(b *testing.B) {
		s := setup(b)
		recs := records(b)
		p := bus.NewPublisher(s.conn, s.layout, bus.PublisherOptions{AckTimeout: time.Minute})
		defer p.Close()
		var wg sync.WaitGroup
		b.ResetTimer()
		for i := range sessions {
			st := open(b, p, "node", fmt.Sprintf("s%d", i))
			wg.Go(func() {
				for k := 0; k*sessions+i < b.N; k++ {
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
		rate(b)
	})
	b.Run("PublishAsync", func(b *testing.B) {
		s := setup(b)
		recs := records(b)
		js, err := jetstream.New(s.conn.NATS(), jetstream.WithPublishAsyncMaxPending(4000))
		if err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		for n := range b.N {
			m := &nats.Msg{Subject: bus.EventSubject(0, "node", fmt.Sprintf("s%d", n%sessions)), Data: recs[n/sessions]}
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
		rate(b)
	})
}
