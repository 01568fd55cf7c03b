package accesslog

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// TestMain also serves as a consumer for tests that kill one.
func TestMain(m *testing.M) {
	if url := os.Getenv("TEST_ACCESSLOG_NATS"); url != "" {
		beConsumer(url, os.Getenv("TEST_ACCESSLOG_SINK"))
		return
	}
	os.Exit(m.Run())
}

func TestBatchesCloseByRecordsBytesAndTime(t *testing.T) {
	w := newWorld(t)
	w.publish(1000, 180)
	var sinks sync.Map
	wrap := func(name string, _ Sink) Sink {
		c, _ := sinks.LoadOrStore(name, newCollector(t))
		return c.(*collector)
	}
	for _, tt := range []struct {
		name           string
		records, bytes int
		flush          time.Duration
	}{
		{"records", 100, 256 << 10, time.Hour},
		{"bytes", 20_000, 16 << 10, time.Hour},
		{"time", 20_000, 8 << 20, 50 * time.Millisecond},
	} {
		cfg := testConfig("s3,name=" + tt.name)
		cfg.Records, cfg.Bytes, cfg.Flush, cfg.AckWait = tt.records, tt.bytes, tt.flush, 2*time.Hour
		p := w.start(cfg, Deps{Store: noStore{}, wrapSink: wrap})
		got, _ := sinks.Load(tt.name)
		c := got.(*collector)
		if tt.name == "bytes" {
			eventually(t, func() bool { _, n := c.count(); return n > 900 })
			p.stop() // which delivers the rest
		}
		c.check(w.ended)
		n := 0
		for _, body := range c.batches {
			recs, _ := accesslog.ParseRecords(body)
			if len(recs) == tt.records || len(body) > tt.bytes-400 {
				n++
			}
			if len(recs) > tt.records || len(body) > tt.bytes {
				t.Errorf("%s: batch of %d records, %d bytes", tt.name, len(recs), len(body))
			}
		}
		if tt.name == "records" && n != 10 || tt.name == "bytes" && n != len(c.batches)-1 {
			t.Errorf("%s: %d of %d batches are full", tt.name, n, len(c.batches))
		}
	}
}

func TestADeadSinkHoldsBackOnlyItself(t *testing.T) {
	w := newWorld(t)
	dead, alive := newCollector(t), newCollector(t)
	dead.fault = func(int, *Batch) (bool, error) { return false, errTest }
	w.publish(6000, 100)
	w.start(testConfig("s3", "s3,name=dead"), Deps{Store: noStore{}, wrapSink: func(name string, _ Sink) Sink {
		if name == "dead" {
			return dead
		}
		return alive
	}})
	alive.check(w.ended)
	dead.mu.Lock()
	dead.fault = nil
	dead.mu.Unlock()
	dead.check(w.ended)
}

// Fault 3 of the field: with the receiver down, every session end past 100
// compresses everything again, with no backoff: 601 attempts for 700 ends.
func TestFault3AReceiverThatIsDownCostsNoWork(t *testing.T) {
	w := newWorld(t)
	sink := newCollector(t)
	compressed := map[string]*byte{}
	sink.fault = func(_ int, b *Batch) (bool, error) {
		if z := b.Deflated(); compressed[b.ID] == nil {
			compressed[b.ID] = &z[0]
		} else if compressed[b.ID] != &z[0] {
			t.Errorf("batch %s is compressed again", b.ID)
		}
		return false, errTest
	}
	cfg := testConfig("s3,in-flight=4")
	cfg.Flush, cfg.RetryMin, cfg.RetryMax = 2*time.Second, 100*time.Millisecond, time.Minute
	w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	for range 700 {
		w.publish(1, 1)
	}
	time.Sleep(300 * time.Millisecond)
	sink.mu.Lock()
	tries, batches := sink.sends, len(compressed)
	sink.fault = nil
	sink.mu.Unlock()
	if tries > 40 || batches > 8 { // the worst that a machine at its limit may make of 4 in flight, waiting 100, 200, 400 ms

		t.Errorf("%d tries of %d batches for 700 ends", tries, batches)
	}
	sink.check(w.ended)
}

// Fault 9 of the field: the receiver inflates without a limit. Ours sends
// nothing that a limit would cut, whatever comes from the bus.
func TestFault9NoBatchInflatesBeyondItsLimit(t *testing.T) {
	w := newWorld(t)
	var recs []accesslog.Record
	for i := range 600 { // compresses a thousandfold
		r := makeRecord(i, accesslog.KindEnd)
		r.User, r.Node, r.DestAddr = strings.Repeat("u", 1024), strings.Repeat("n", 1024), strings.Repeat("d", 1024)
		recs = append(recs, r)
		if len(recs) == 200 {
			w.message(recs)
			w.ended, recs = append(w.ended, recs...), nil
		}
	}
	sink := newCollector(t)
	cfg := testConfig("s3")
	cfg.Records = 20_000
	w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
	for id, body := range sink.batches {
		b := &Batch{ID: id, body: body}
		if _, err := accesslog.DecodeEnvelope(b.Envelope(), accesslog.Limits{Inflated: cfg.Bytes}); err != nil {
			t.Errorf("batch of %d bytes: %v", len(body), err)
		}
	}
}

func TestWhatIsBadIsKeptAsideOnceAndTheRestGoesOn(t *testing.T) {
	w := newWorld(t)
	one, two := newCollector(t), newCollector(t)
	one.fault = func(_ int, b *Batch) (bool, error) {
		if bytes.Contains(b.Body(), []byte("00000000000003e7")) {
			return false, errors.Join(ErrRefused, errTest)
		}
		return true, nil
	}
	w.publish(10, 10)
	w.raw(bus.AccessSubject("x"), []byte(`{"not":"an array"}`), nil)
	w.raw(bus.AccessSubject("x"), []byte(`[{"sessionId":"aaaa`), nil)
	good := makeRecord(500, accesslog.KindEnd)
	b, _ := accesslog.MarshalRecords([]accesslog.Record{good})
	w.raw(bus.AccessSubject("x"), bytes.Replace(b, []byte("["), []byte(`[{"resourceId":1,"protocol":"tcp","startedAt":"2026-01-01T00:00:00Z"},`), 1), nil)
	w.raw(bus.AccessSubject("x"), b, nats.Header{bus.HeaderVersion: {"2"}})
	w.raw(bus.AccessSubject("x"), nil, nil)
	w.ended = append(w.ended, good)
	w.publish(10, 10)
	cfg := testConfig("s3,name=one", "s3,name=two")
	deps := Deps{Store: noStore{}, wrapSink: func(name string, _ Sink) Sink {
		if name == "one" {
			return one
		}
		return two
	}}
	p := w.start(cfg, deps)
	one.check(w.ended)
	two.check(w.ended)
	if got := w.kept(); len(got) != 5 {
		t.Errorf("kept aside: %v", got)
	}
	p.kill()

	refused := makeRecord(0x3e7, accesslog.KindEnd)
	w.message([]accesslog.Record{refused})
	w.start(cfg, deps)
	two.check(append(w.ended, refused))
	eventually(t, func() bool { return len(w.kept()) == 6 })
	if got := w.kept()[5]; !strings.HasPrefix(got, "tapedeck.poison.batch.one.") {
		t.Errorf("the refused batch is kept as %s", got)
	}
	w.publish(5, 5)
	one.check(w.ended)
}

func TestRetryAfterIsHeeded(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, accesslog.HeaderBatch)
	r.answer = func(n int, h http.Header) int {
		if n == 1 {
			h.Set("Retry-After", "1")
			return http.StatusTooManyRequests
		}
		return 0
	}
	w.publish(5, 5)
	w.start(testConfig("http,url="+r.URL), Deps{})
	eventually(t, func() bool { return r.count() == 1 })
	if waited := r.when[1].Sub(r.when[0]); waited < time.Second || waited > 3*time.Second {
		t.Errorf("sent again after %s, want 1s", waited)
	}
	if len(r.all) != 2 {
		t.Errorf("%d requests", len(r.all))
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": -3 * time.Second, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func TestWhatAStatusMeans(t *testing.T) {
	for status, permanent := range map[int]bool{400: true, 413: true, 415: true, 422: true, 301: false, 401: false, 403: false, 404: false, 408: false, 429: false, 500: false, 503: false} {
		if err := statusError(&http.Response{StatusCode: status}, errTest); errors.Is(err, ErrRefused) != permanent || err == nil {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestTheNewcomerWorksAndTheOtherStandsBy(t *testing.T) {
	w := newWorld(t)
	sinks := map[string]*collector{"a": newCollector(t), "b": newCollector(t), "c": newCollector(t)}
	run := func(who string) *process {
		return w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sinks[who].wrap})
	}
	phase := func(who string) {
		t.Helper()
		_, before := sinks[who].count()
		w.publish(20, 10)
		eventually(t, func() bool { _, n := sinks[who].count(); return n >= before+20 && w.acked("s3") })
		time.Sleep(2 * lazySave) // until the ledger says so too, and the next is sent nothing again
	}
	run("a")
	phase("a")
	b := run("b")
	phase("b")
	c := run("c")
	phase("c")
	c.stop() // says so: another goes on at once
	start := time.Now()
	_, na := sinks["a"].count()
	_, nb := sinks["b"].count()
	w.publish(20, 10)
	eventually(t, func() bool {
		_, a := sinks["a"].count()
		_, b := sinks["b"].count()
		return a+b == na+nb+20
	})
	if waited := time.Since(start); waited > time.Second {
		t.Errorf("nobody took a free sink for %s", waited)
	}
	b.kill() // says nothing: if it was b's, a waits
	phase("a")
}

func TestToldToStopItDeliversWhatItHasAndAnotherBeginsAtOnce(t *testing.T) {
	w := newWorld(t)
	sink := newCollector(t)
	cfg := testConfig("s3")
	cfg.Flush = time.Minute
	w.publish(50, 10)
	p := w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	eventually(t, func() bool { return w.unacked("s3") == 5 })
	time.Sleep(2 * time.Second) // what the server has sent is still to be taken
	p.stop()
	p.kill()
	eventually(t, func() bool { // nothing of it is left running
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return !bytes.Contains(stacks, []byte("accesslog.(*shift)")) && !bytes.Contains(stacks, []byte("accesslog.(*Consumer)")) && !bytes.Contains(stacks, []byte("watermill"))
	})
	kv := &kvStore{conn: w.conn, layout: w.layout}
	l, _, err := kv.Load(t.Context(), "s3")
	if _, n := sink.count(); err != nil || l.Owner != "" || len(l.Open) != 0 || n == 0 || n != 10*int(l.Cursor.Seq-1) {
		t.Errorf("%d records are delivered, ledger is left as %+v, %v", n, l, err)
	}
	w.publish(10, 10)
	cfg.Flush = 50 * time.Millisecond
	w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
}

func (w *world) unacked(sink string) int {
	w.t.Helper()
	c, err := w.conn.JetStream().Consumer(w.t.Context(), bus.StreamAccess, "accesslog-"+sink)
	if err != nil {
		return -1
	}
	return c.CachedInfo().NumAckPending
}

func TestADeadSinkDoesNotKeepItFromStopping(t *testing.T) {
	w := newWorld(t)
	sink := newCollector(t)
	sink.fault = func(int, *Batch) (bool, error) { return false, errTest }
	cfg := testConfig("s3")
	cfg.Drain = 50 * time.Millisecond
	w.publish(300, 10)
	p := w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	eventually(t, func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return sink.sends > 10 })
	start := time.Now()
	p.stop()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
	sink.fault = nil
	w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
}

func TestAConsumerThatIsDeletedIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	sink := newCollector(t)
	w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sink.wrap})
	for range 3 {
		w.publish(230, 10)
		eventually(t, func() bool { return w.unacked("s3") >= 0 })
		if err := w.conn.JetStream().DeleteConsumer(t.Context(), bus.StreamAccess, "accesslog-s3"); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
	}
	sink.check(w.ended)
}

func TestMessagesThatLeaveTheStreamAreMissedAndNothingStops(t *testing.T) {
	for _, tt := range []struct {
		name  string
		purge uint64 // of 10 messages, with 25 records each
		later bool   // more comes after
	}{
		{"some of them", 5, false},
		{"all of them", 11, false},
		{"all of them, and more comes", 11, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			sink := newCollector(t)
			sink.fault = func(int, *Batch) (bool, error) { return false, errTest }
			w.publish(250, 25)
			recorded := make(chan struct{})
			cfg := testConfig("s3")
			cfg.Drain = 0
			p := w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
			go func() {
				defer close(recorded)
				for sink.attempts() < 3 {
					time.Sleep(time.Millisecond)
				}
			}()
			<-recorded
			p.kill()
			s, err := w.conn.JetStream().Stream(t.Context(), bus.StreamAccess)
			if err == nil {
				err = s.Purge(t.Context(), jetstream.WithPurgeSequence(tt.purge))
			}
			if err != nil {
				t.Fatal(err)
			}
			w.ended = w.ended[(tt.purge-1)*25:]
			if tt.later {
				w.publish(30, 10)
			}
			sink.mu.Lock()
			sink.fault = nil
			sink.mu.Unlock()
			w.start(cfg, Deps{Store: noStore{}, wrapSink: sink.wrap})
			sink.check(w.ended)
			w.publish(30, 10)
			sink.check(w.ended)
		})
	}
}

func (c *collector) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sends
}

func TestAStreamThatWasMadeAnewIsReadFromItsBeginning(t *testing.T) {
	w := newWorld(t)
	sink := newCollector(t)
	w.publish(100, 10)
	p := w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
	p.stop()
	if err := w.conn.JetStream().DeleteStream(t.Context(), bus.StreamAccess); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Ensure(t.Context(), w.conn, w.layout); err != nil {
		t.Fatal(err)
	}
	w.publish(30, 10)
	w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sink.wrap})
	sink.check(w.ended)
}

func TestANewerLedgerIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	kv := &kvStore{conn: w.conn, layout: w.layout}
	if _, err := kv.Save(t.Context(), "s3", ledger{V: 2}, 0); err != nil {
		t.Fatal(err)
	}
	sink := newCollector(t)
	w.publish(10, 10)
	w.start(testConfig("s3"), Deps{Store: noStore{}, wrapSink: sink.wrap})
	time.Sleep(200 * time.Millisecond)
	if sink.attempts() != 0 {
		t.Error("batches were sent in spite of a newer ledger")
	}
}

// beConsumer is a process that delivers to one sink until it is killed.
func beConsumer(url, sink string) {
	ctx, cancel := timeoutContext()
	defer cancel()
	conn, err := bus.Connect(ctx, bus.Options{URL: []string{url}}, nil)
	if err != nil {
		panic(err)
	}
	layout, err := bus.Inspect(ctx, conn)
	if err != nil {
		panic(err)
	}
	c, err := New(testConfig(sink), Deps{Conn: conn, Layout: layout})
	if err != nil {
		panic(err)
	}
	_ = c.Run(ctx)
}

// Fault 6 of the field, with processes that are really killed.
func TestFault6ProcessesKilledAtRandomWithAReceiverThatFailsHalfTheTime(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, accesslog.HeaderBatch)
	r.answer = func(n int, _ http.Header) int {
		if n%2 == 1 {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TEST_ACCESSLOG_NATS="+w.url, "TEST_ACCESSLOG_SINK=http,format=json,url="+r.URL)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := r.count()
		w.publish(1000+round*37, 1+round*40)
		eventually(t, func() bool { return r.count() >= before+3 || round == 4 && r.records(t) == len(w.ended) })
		if round == 4 {
			eventually(t, func() bool { return r.records(t) == len(w.ended) })
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	checkRecords(t, values(r.got), w.ended)
}

func (r *receiver) records(t *testing.T) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, b := range r.got {
		n += strings.Count(string(b), `"sessionId"`)
	}
	return n
}

func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	var s SinkConfig
	err := s.UnmarshalText([]byte(`http,url=x,colour=red,in-flight=many,kinds=some,oops`))
	for _, want := range []string{"colour", "in-flight", "kinds", "oops"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s in it", err, want)
		}
	}
	cfg := Config{Sinks: []SinkConfig{{Kind: "ftp"}, {Kind: KindHTTP, Name: "a b"}, {Kind: KindNATS}, {Kind: KindS3, Name: "x"}, {Kind: KindS3, Name: "x", Start: "now", InFlight: 99, Format: "xml", URL: "http://u:hush@h"}}}
	err = cfg.Validate()
	for _, want := range []string{"ftp", "a b", "subject", "taken", "start", "in-flight", "xml", "flush", "takeover", "timeout", "batch-records"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s in it", err, want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("a password is repeated: %v", err)
	}
	if err := s.UnmarshalText([]byte(`http,"url=https://h/?a=1,2",name=siem`)); err != nil || s.URL != "https://h/?a=1,2" || s.Validate() != nil {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestDefaultConfigIsWhatTheTagsSay(t *testing.T) {
	var fromTags Config
	parseTags(t, &fromTags)
	if want := DefaultConfig(); strconv.Quote(sprint(fromTags)) != strconv.Quote(sprint(want)) {
		t.Errorf("tags say %+v, DefaultConfig %+v", fromTags, want)
	}
}
