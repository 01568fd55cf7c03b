package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// A world is a bus and what has been published on it.
type world struct {
	t      testing.TB
	url    string
	conn   *bus.Conn
	layout bus.Layout
	n      int
	ended  []accesslog.Record
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, url: embedtest.NATS(t)}
	w.conn = connect(t, w.url)
	var err error
	if w.layout, err = bus.Ensure(t.Context(), w.conn, bus.Layout{AccessMaxBytes: 2 << 30}); err != nil {
		t.Fatal(err)
	}
	return w
}

func connect(t testing.TB, url string) *bus.Conn {
	t.Helper()
	conn, err := bus.Connect(t.Context(), bus.Options{URL: []string{url}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)

func makeRecord(i int, kind accesslog.Kind) accesslog.Record {
	r := accesslog.Record{
		SessionID: fmt.Sprintf("%016x", i), ResourceID: int64(i % 7), SourceAddr: fmt.Sprintf("[2001:db8::%x]:%d", i%65536, 1024+i%60000),
		DestAddr: "10.0.0.1:443", Protocol: accesslog.TCP, StartedAt: epoch.Add(time.Duration(i) * time.Millisecond),
		BytesTx: int64(i * 3), BytesRx: int64(i * 5), Kind: kind, User: "ann", Node: "edge-1",
	}
	if kind == accesslog.KindEnd {
		r.EndedAt, r.Reason, r.Seq = r.StartedAt.Add(time.Second), accesslog.ReasonClosed, 2
	}
	return r
}

// publish publishes n sessions that have ended, so many records a message; each
// message has a start too, which is for sinks that want all.
func (w *world) publish(n, perMessage int) {
	w.t.Helper()
	for n > 0 {
		recs := []accesslog.Record{makeRecord(w.n, accesslog.KindStart)}
		for range min(n, perMessage) {
			recs = append(recs, makeRecord(w.n, accesslog.KindEnd))
			w.n++
			n--
		}
		w.ended = append(w.ended, recs[1:]...)
		w.message(recs)
	}
}

func (w *world) message(recs []accesslog.Record) uint64 {
	w.t.Helper()
	b, err := accesslog.MarshalRecords(recs)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.raw(bus.AccessSubject("db"), b, nil)
}

func (w *world) raw(subject string, b []byte, h nats.Header) uint64 {
	w.t.Helper()
	ack, err := w.conn.JetStream().PublishMsg(w.t.Context(), &nats.Msg{Subject: subject, Data: b, Header: h})
	if err != nil {
		w.t.Fatal(err)
	}
	return ack.Sequence
}

// testConfig is quick to retry and to flush.
func testConfig(sinks ...string) Config {
	cfg := DefaultConfig()
	cfg.Flush, cfg.ParquetFlush = 100*time.Millisecond, 200*time.Millisecond
	cfg.RetryMin, cfg.RetryMax, cfg.Takeover, cfg.Timeout = 5*time.Millisecond, 50*time.Millisecond, time.Second, 5*time.Second
	for _, s := range sinks {
		var sc SinkConfig
		if err := sc.UnmarshalText([]byte(s)); err != nil {
			panic(err)
		}
		cfg.Sinks = append(cfg.Sinks, sc)
	}
	return cfg
}

// A process is a consumer that runs on a connection of its own.
type process struct {
	stop func() // as with SIGTERM; waits
	kill func() // as with SIGKILL: nothing is flushed, freed or acknowledged after; waits
	done chan struct{}
}

func (w *world) start(cfg Config, deps Deps) *process {
	w.t.Helper()
	deps.Conn, deps.Layout = connect(w.t, w.url), w.layout
	if testing.Verbose() {
		deps.Log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	c, err := New(cfg, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.t.Context())
	hard, kill := context.WithCancel(context.WithoutCancel(w.t.Context()))
	p := &process{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if err := c.run(ctx, hard); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	p.stop = func() { stop(); <-p.done }
	p.kill = func() { kill(); stop(); <-p.done; deps.Conn.Close() }
	w.t.Cleanup(p.kill)
	return p
}

// A collector is a sink that checks the sinks' contract from the other side: a
// batch that comes again is the same, byte for byte.
type collector struct {
	t  testing.TB
	mu sync.Mutex
	// by id
	batches map[string][]byte
	records int // in all of them together
	sends   int
	// fault is asked before each batch, if it is not nil: whether the sink gets
	// it, and what is said.
	fault func(send int, b *Batch) (stored bool, err error)
}

func newCollector(t testing.TB) *collector {
	return &collector{t: t, batches: map[string][]byte{}}
}

func (c *collector) wrap(string, Sink) Sink { return c }

func (c *collector) Send(ctx context.Context, b *Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sends++
	stored, err := true, error(nil)
	if c.fault != nil {
		stored, err = c.fault(c.sends, b)
	}
	if !stored {
		return err
	}
	if was, ok := c.batches[b.ID]; ok && !bytes.Equal(was, b.Body()) {
		c.t.Errorf("batch %s came again with other content: %d bytes, were %d", b.ID, len(b.Body()), len(was))
	}
	if c.batches[b.ID] == nil {
		c.batches[b.ID] = bytes.Clone(b.Body())
		c.records += b.Records
	}
	return err
}

func (c *collector) count() (batches, records int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.batches), c.records
}

// check is the oracle: batches of different ids together have each record once.
func (c *collector) check(want []accesslog.Record) {
	c.t.Helper()
	eventually(c.t, func() bool { _, n := c.count(); return n >= len(want) })
	c.mu.Lock()
	defer c.mu.Unlock()
	var bodies [][]byte
	for _, b := range c.batches {
		bodies = append(bodies, b)
	}
	checkRecords(c.t, bodies, want)
}

func checkRecords(t testing.TB, bodies [][]byte, want []accesslog.Record) {
	t.Helper()
	got := map[string]int{}
	for _, body := range bodies {
		var raw []json.RawMessage
		if err := json.Unmarshal(body, &raw); err != nil {
			t.Fatal(err)
		}
		for _, r := range raw {
			got[string(r)]++
		}
	}
	for i := range want {
		b, err := json.Marshal(want[i])
		if err != nil {
			t.Fatal(err)
		}
		if n := got[string(b)]; n != 1 {
			t.Fatalf("record %d (%s) is there %d times, want once", i, want[i].SessionID, n)
		}
		delete(got, string(b))
	}
	for r, n := range got {
		t.Fatalf("%d times a record that was not expected: %s", n, r)
	}
}

func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it has not come to pass within a minute")
		}
	}
}

var errTest = errors.New("the test says no")

// acked says whether the sink has everything, as the server sees it.
func (w *world) acked(sink string) bool {
	w.t.Helper()
	s, err := w.conn.JetStream().Stream(w.t.Context(), bus.StreamAccess)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := s.Consumer(w.t.Context(), "accesslog-"+sink)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false // it is being made
	}
	if err != nil {
		w.t.Fatal(err)
	}
	info := c.CachedInfo()
	return info.AckFloor.Stream == s.CachedInfo().State.LastSeq && info.NumAckPending == 0
}

func timeoutContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// parseTags fills the configuration from the defaults in its tags.
func parseTags(t *testing.T, cfg *Config) {
	t.Helper()
	p, err := kong.New(cfg, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse([]string{"--sink", "s3"}); err != nil {
		t.Fatal(err)
	}
	cfg.Sinks = nil
}

func sprint(v any) string { return fmt.Sprintf("%+v", v) }

// cpuTime is what the process has used so far.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
