package accesslog_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func TestHundredThousandIdleSessionsAreCheap(t *testing.T) {
	const n = 100_000
	b := newFakeBus(t)
	tr, stop := run(t, accesslog.Config{SpoolRecords: 3 * n, SpoolBytes: 1 << 30}, b)
	eventually(t, "it runs", func() bool { return runtime.NumGoroutine() > 2 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	begin := time.Now()
	open := make([]*accesslog.Session, n)
	for i := range open {
		open[i] = tr.Start(flow(i))
	}
	started := time.Since(begin)
	eventually(t, "all starts are sent", func() bool { return tr.Stats().Sent.Start == n })
	b.set(func() { b.messages, b.seen, b.stored = nil, map[string][]byte{}, map[string]bool{} })
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapAlloc-before.HeapAlloc) / n
	more := runtime.NumGoroutine() - goroutines
	t.Logf("%d bytes a session, %d more goroutines, %s to start one", each, more, started/n)
	if each > 1000 || more > 2 {
		t.Errorf("%d bytes a session, %d more goroutines", each, more)
	}
	for _, s := range open {
		s.End(accesslog.ReasonClosed)
	}
	mustStop(t, stop)
	if st := tr.Stats(); st.Sent.End != n || st.Dropped.Total() != 0 {
		t.Errorf("%+v", st)
	}
}

func TestManySessionsAtOnceAreEachCountedOnce(t *testing.T) {
	for _, merge := range []time.Duration{0, accesslog.MergeGap} {
		b := newFakeBus(t)
		tr, stop := run(t, accesslog.Config{Merge: merge, StateFile: t.TempDir() + "/state"}, b)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 500 {
					f := flow(g)
					f.Resource = int64(i % 20)
					c := tr.Start(f).ToDest(discard{})
					_, _ = c.Write(make([]byte, 3))
					_ = c.Close()
				}
			})
		}
		wg.Wait()
		mustStop(t, stop)
		var conns, bytes int64
		for _, r := range ends(t, b.records()) {
			conns += r.Connections()
			bytes += r.BytesTx
		}
		if conns != 4000 || bytes != 12_000 {
			t.Errorf("merging within %s: %d connections and %d bytes", merge, conns, bytes)
		}
	}
}

func TestOnlyTheFirstEndCounts(t *testing.T) {
	b := newFakeBus(t)
	tr, stop := run(t, accesslog.Config{}, b)
	s := tr.Start(flow(1))
	calls := 0
	s.AfterEnd(func() { calls++ })
	s.End(accesslog.ReasonIdle)
	s.End(accesslog.ReasonClosed)
	s.AfterEnd(func() { calls++ })
	mustStop(t, stop)
	recs := b.records()
	if len(recs) != 2 || recs[1].Reason != accesslog.ReasonIdle || calls != 2 || !s.Ended() {
		t.Errorf("%d calls, %+v", calls, recs)
	}
}

func TestStopEndsWhatIsOpenWithShutdown(t *testing.T) {
	for _, merge := range []time.Duration{0, accesslog.MergeGap} {
		synctest.Test(t, func(t *testing.T) {
			b := newFakeBus(t)
			tr, stop := run(t, accesslog.Config{Merge: merge}, b)
			sock := newFakeSocket()
			pc := tr.PacketConn(sock, accesslog.Flow{Resource: 9, Dest: "10.0.0.1:53"})
			go func() { _, _, _ = pc.ReadFrom(make([]byte, 100)) }()
			sock.in <- "[2001:db8::5]:53"
			over := tr.Start(flow(1))
			over.End(accesslog.ReasonClosed)
			tr.Start(flow(2))
			synctest.Wait()
			mustStop(t, stop)
			reasons := map[accesslog.Reason]int{}
			for _, r := range ends(t, b.records()) {
				reasons[r.Reason]++
			}
			if reasons[accesslog.ReasonShutdown] != 2 || reasons[accesslog.ReasonClosed] != 1 {
				t.Errorf("merging within %s: %v", merge, reasons)
			}
			tr.Start(flow(3)).End(accesslog.ReasonClosed) // too late to be sent
			if st := tr.Stats(); st.Dropped != (accesslog.Counts{Start: 1, End: 1}) || st.Open != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestMergedUDPFlowsOfOneHostAreOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBus(t)
		tr, stop := run(t, accesslog.Config{Merge: accesslog.MergeGap, Idle: time.Minute}, b)
		sock := newFakeSocket()
		pc := tr.PacketConn(sock, accesslog.Flow{Resource: 9, Dest: "10.0.0.1:53"})
		go func() {
			for {
				if _, _, err := pc.ReadSession(make([]byte, 100)); err != nil {
					return
				}
			}
		}()
		var last time.Time
		for port := range 20 { // a resolver that takes another port each time
			last = time.Now()
			sock.in <- netip.AddrPortFrom(netip.MustParseAddr("2001:db8::5"), uint16(4000+port)).String()
			time.Sleep(4 * time.Second)
		}
		time.Sleep(2 * time.Minute)
		got := ends(t, b.records())
		for _, r := range got {
			if r.ConnectionCount != 20 || r.BytesTx != 200 || r.SourceAddr != "2001:db8::5" || !r.EndedAt.Equal(last) {
				t.Errorf("%+v", r)
			}
		}
		if len(got) != 1 {
			t.Errorf("%d sessions", len(got))
		}
		close(sock.in)
		mustStop(t, stop)
	})
}

func TestReplyAfterTheEndBeginsNoSession(t *testing.T) {
	b := newFakeBus(t)
	tr, stop := run(t, accesslog.Config{}, b)
	sock := newFakeSocket()
	pc := tr.PacketConn(sock, accesslog.Flow{Resource: 9, Dest: "10.0.0.1:53"})
	go func() { sock.in <- "192.0.2.1:1" }()
	_, s, err := pc.ReadSession(make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.WriteSession([]byte("reply"), s); err != nil {
		t.Fatal(err)
	}
	s.End(accesslog.ReasonClosed)
	if _, err := pc.WriteSession([]byte("reply"), s); err == nil || tr.Stats().Open != 0 {
		t.Error(err, tr.Stats())
	}
	mustStop(t, stop)
	for _, r := range ends(t, b.records()) {
		if r.BytesTx != 10 || r.BytesRx != 5 {
			t.Errorf("%+v", r)
		}
	}
}

func TestLineForEachBeginningAndEnd(t *testing.T) {
	lines := &buffered{}
	tr, stop := run(t, accesslog.Config{Lines: lines}, newFakeBus(t))
	f := flow(1)
	f.User, f.Dest = "eve\nACCESS END session=forged", "10.0.0.1:22"
	tr.Start(f).End(accesslog.ReasonClosed)
	mustStop(t, stop)
	want := []*regexp.Regexp{
		regexp.MustCompile(`^ACCESS START session=[0-9a-f]{16} resource=7 proto=tcp src=192\.168\.0\.1:1025 dst=10\.0\.0\.1:22 user="eve\\nACCESS END session=forged" time=\S+Z$`),
		regexp.MustCompile(`^ACCESS END session=[0-9a-f]{16} .* started=\S+Z ended=\S+Z duration=\d+\.\d{3}s tx=0 rx=0 reason=closed$`),
	}
	got := lines.lines()
	if len(got) != 2 || !want[0].MatchString(got[0]) || !want[1].MatchString(got[1]) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

func TestLogThatHangsHoldsNoConnection(t *testing.T) {
	r, w := net.Pipe() // nobody reads
	tr, stop := run(t, accesslog.Config{Lines: w, SpoolRecords: 100}, newFakeBus(t))
	for i := range 1000 {
		tr.Start(flow(i)).End(accesslog.ReasonClosed)
	}
	_ = r.Close()
	mustStop(t, stop)
	st := tr.Stats()
	if st.Sent.Total()+st.Dropped.Total() != 2000 {
		t.Errorf("%+v", st)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	_, err := accesslog.New(accesslog.Config{Node: "a b", Alive: 1, Idle: 1, Merge: -1, SpoolRecords: 1, SpoolBytes: 1}, nil)
	for _, want := range []string{"node", "alive", "idle", "merge", "spool records", "spool bytes"} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}

func BenchmarkStartAndEnd(b *testing.B) {
	tr, err := accesslog.New(accesslog.Config{Node: "n"}, nothing{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- tr.Run(ctx) }()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		tr.Start(flow(i)).End(accesslog.ReasonClosed)
		i++
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	st := tr.Stats()
	b.ReportMetric(float64(st.Sent.Total())/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(st.Dropped.Total()), "dropped")
}

type nothing struct{}

func (nothing) Publish(context.Context, accesslog.Message) error { return nil }

func BenchmarkParseRecords(b *testing.B) {
	recs := make([]accesslog.Record, 100)
	for i := range recs {
		recs[i] = ended(i, i)
	}
	body, err := accesslog.MarshalRecords(recs)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if got, err := accesslog.ParseRecords(body); err != nil || len(got) != 100 {
			b.Fatal(fmt.Errorf("%d: %w", len(got), err))
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "records/s")
}
