package accesslog_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// The nine faults of the implementation in the field. What another package does
// (batches that are sent to a sink, the receiver's rows) is tested there.

func TestFault1BytesAreCountedOnRealSockets(t *testing.T) {
	b := newFakeBus(t)
	tr, stop := run(t, accesslog.Config{}, b)
	for _, host := range []string{"127.0.0.1:0", "[::1]:0"} {
		echoTCP(t, tr, host, 100_000, 7)
		echoUDP(t, tr, host, 3, 500)
	}
	mustStop(t, stop)
	got := ends(t, b.records())
	if len(got) != 4 {
		t.Fatalf("%d sessions ended, want 4", len(got))
	}
	for _, r := range got {
		tx, rx := int64(100_000), int64(700_000)
		if r.Protocol == accesslog.UDP {
			tx, rx = 3*500, 3*1000
		}
		if r.BytesTx != tx || r.BytesRx != rx {
			t.Errorf("%s from %s: %d and %d bytes, want %d and %d", r.Protocol, r.SourceAddr, r.BytesTx, r.BytesRx, tx, rx)
		}
	}
}

// echoTCP sends n bytes through a tracked listener and gets each of them times
// times back.
func echoTCP(t *testing.T, tr *accesslog.Tracker, addr string, n, times int) {
	t.Helper()
	inner, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l := tr.Listener(inner, accesslog.Flow{Resource: 7})
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c)
		for range times {
			_, _ = c.Write(all)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if back, err := io.ReadAll(c); err != nil || len(back) != n*times {
		t.Fatalf("%d bytes back, %v", len(back), err)
	}
	<-served
	_ = l.Close()
}

// echoUDP sends packets of n bytes through a tracked socket, and gets each twice.
func echoUDP(t *testing.T, tr *accesslog.Tracker, addr string, packets, n int) {
	t.Helper()
	inner, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	pc := tr.PacketConn(inner, accesslog.Flow{Resource: 7})
	defer pc.Close()
	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 64<<10)
	for range packets {
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		got, from, err := pc.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := pc.WriteTo(buf[:got], from); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFault2OverflowDropsTheOldestAndSaysHowMany(t *testing.T) {
	for _, merge := range []time.Duration{0, accesslog.MergeGap} {
		synctest.Test(t, func(t *testing.T) {
			b := newFakeBus(t)
			b.away(true)
			tr, stop := run(t, accesslog.Config{SpoolRecords: 50, Merge: merge}, b)
			var order []string
			for i := range 200 {
				s := tr.Start(flow(i))
				synctest.Wait()
				s.End(accesslog.ReasonClosed)
				order = append(order, s.ID())
				time.Sleep(merge + time.Second)
				synctest.Wait()
			}
			st := tr.Stats()
			b.away(false)
			mustStop(t, stop)
			recs := b.records()
			if made := int(st.Dropped.Total()) + len(recs); made != 400 || st.Spooled != 50 || len(recs) != 50 {
				t.Errorf("%d dropped and %d sent (%d were spooled) of 400 made", st.Dropped.Total(), len(recs), st.Spooled)
			}
			// One message was on its way from the beginning: the first start. Of the
			// rest, starts whose ends came went first, and then the oldest ends.
			if recs[0].SessionID != order[0] || recs[0].Kind != accesslog.KindStart {
				t.Errorf("first sent: %+v", recs[0])
			}
			for i, r := range recs[1:] {
				if want := order[200-49+i]; r.SessionID != want || r.Kind != accesslog.KindEnd {
					t.Fatalf("record %d is the %s of another session", i+1, r.Kind)
				}
			}
			if want := (accesslog.Counts{Start: 199, End: 151}); st.Dropped != want {
				t.Errorf("dropped %s, want %s", st.Dropped, want)
			}
			last := b.messages[len(b.messages)-1]
			if last.Dropped != st.Dropped {
				t.Errorf("the message says %s", last.Dropped)
			}
		})
	}
}

func TestFault3BusThatIsDownCostsFewTriesAndNoConnectionsTime(t *testing.T) {
	for _, test := range []struct {
		name string
		hang bool
	}{{"it refuses", false}, {"it hangs", true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFakeBus(t)
				b.away(true)
				if test.hang {
					b.hang = make(chan struct{})
				}
				tr, stop := run(t, accesslog.Config{}, b)
				for i := range 700 {
					begin := time.Now()
					tr.Start(flow(i)).End(accesslog.ReasonClosed)
					if took := time.Since(begin); took != 0 { // in a bubble only waiting takes time
						t.Fatalf("session %d waited %s", i, took)
					}
					time.Sleep(100 * time.Millisecond)
				}
				// 70 s, a try every 2.5 to 5 s once it has backed off.
				if n := tr.Stats().Attempts; n < 10 || n > 40 {
					t.Errorf("%d tries in 70 s", n)
				}
				b.away(false)
				if test.hang {
					b.set(func() { close(b.hang); b.hang = nil })
				}
				time.Sleep(6 * time.Second)
				if got := len(ends(t, b.records())); got != 700 {
					t.Errorf("%d sessions on the bus after it came back", got)
				}
				mustStop(t, stop)
			})
		})
	}
}

func TestFault4ConnectionsOfABurstAddUp(t *testing.T) {
	t.Run("merged again and again", func(t *testing.T) {
		var put []accesslog.Record
		for i := range 53 { // one more comes each time, and what is there is put back
			put = accesslog.Merge(append(put, ended(i, i)), accesslog.MergeGap)
		}
		if len(put) != 1 || put[0].ConnectionCount != 53 || put[0].BytesTx != 53*100 {
			t.Errorf("%+v", put)
		}
	})
	t.Run("in the tracker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newFakeBus(t)
			tr, stop := run(t, accesslog.Config{Merge: accesslog.MergeGap}, b)
			for i := range 53 {
				f := flow(1)
				f.Source = netip.AddrPortFrom(f.Source.Addr(), uint16(5000+i))
				s := tr.Start(f)
				time.Sleep(time.Second)
				s.End(accesslog.ReasonClosed)
				time.Sleep(4 * time.Second)
			}
			end := time.Now().Add(-4 * time.Second)
			time.Sleep(2 * time.Second) // 6 s of silence
			got := ends(t, b.records())
			if len(got) != 1 {
				t.Fatalf("%d sessions", len(got))
			}
			for _, r := range got {
				if r.ConnectionCount != 53 || r.SourceAddr != "192.168.0.1" || !r.EndedAt.Equal(end) || r.Reason != accesslog.ReasonClosed {
					t.Errorf("%+v", r)
				}
			}
			if n := len(b.records()); n != 2 {
				t.Errorf("%d records of one session, want a start and an end", n)
			}
			mustStop(t, stop)
		})
	})
}

func TestFault5UDPSessionsEndByIdlenessAndNotByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBus(t)
		tr, stop := run(t, accesslog.Config{Idle: 2 * time.Minute, Alive: time.Hour}, b)
		sock := newFakeSocket()
		pc := tr.PacketConn(sock, accesslog.Flow{Resource: 7, Dest: "10.0.0.1:53"})
		go func() {
			buf := make([]byte, 100)
			for {
				if _, _, err := pc.ReadFrom(buf); err != nil {
					return
				}
			}
		}()
		var last time.Time
		for range 40 { // busy for over an hour, with pauses just below the time-out
			last = time.Now()
			sock.in <- "192.0.2.1:999"
			time.Sleep(2*time.Minute - time.Second)
		}
		if got := ends(t, b.records()); len(got) != 0 {
			t.Errorf("a busy session ended: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got := ends(t, b.records())
		if len(got) != 1 {
			t.Fatalf("%d sessions ended", len(got))
		}
		for _, r := range got {
			if !r.EndedAt.Equal(last) || r.BytesTx != 400 || r.Reason != accesslog.ReasonIdle || r.SourceAddr != "192.0.2.1:999" {
				t.Errorf("%+v, want the end at %s", r, last)
			}
		}
		sock.in <- "192.0.2.1:999" // a packet later is another session
		synctest.Wait()
		if st := tr.Stats(); st.Open != 1 {
			t.Errorf("%d open", st.Open)
		}
		close(sock.in)
		mustStop(t, stop)
		if got := ends(t, b.records()); len(got) != 2 {
			t.Errorf("%d sessions after the second", len(got))
		}
	})
}

func TestFault6LostAcknowledgementOrKillLosesNothingAndCountsNothingTwice(t *testing.T) {
	t.Run("lost acknowledgements", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newFakeBus(t)
			b.fault = func(n int) (bool, error) { // refused, stored but the reply lost, and good, in turn
				if n%3 == 0 {
					return true, nil
				}
				return n%3 == 1, errAway
			}
			tr, stop := run(t, accesslog.Config{}, b)
			for i := range 300 {
				tr.Start(flow(i)).End(accesslog.ReasonClosed)
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(20 * time.Second)
			recs := b.records()
			if got := ends(t, recs); len(got) != 300 || len(recs) != 600 {
				t.Errorf("%d sessions in %d records", len(got), len(recs))
			}
			mustStop(t, stop)
		})
	})
	t.Run("killed with the bus away", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "state")
		b := newFakeBus(t)
		want := map[string]accesslog.Reason{}
		killed(t, file, func(tr *accesslog.Tracker) {
			for i := range 100 {
				s := tr.Start(flow(i))
				want[s.ID()] = accesslog.ReasonReaped
				if i%2 == 0 {
					s.End(accesslog.ReasonClosed)
					want[s.ID()] = accesslog.ReasonClosed
				}
			}
		})
		for range 2 { // the second start finds nothing to do
			_, stop := run(t, accesslog.Config{StateFile: file}, b)
			eventually(t, "all ends", func() bool { return len(ends(t, b.records())) == 100 })
			mustStop(t, stop)
		}
		recs := b.records()
		got := ends(t, recs)
		for id, r := range got {
			if r.Reason != want[id] {
				t.Errorf("session %s: %s, want %s", id, r.Reason, want[id])
			}
		}
		if len(got) != 100 || len(recs) != 100 {
			t.Errorf("%d sessions in %d records", len(got), len(recs))
		}
	})
}

func TestFault7OpenSessionsAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFakeBus(t)
		tr, stop := run(t, accesslog.Config{}, b)
		near, far := net.Pipe()
		f := flow(1)
		c := tr.Start(f).ToSource(near)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		synctest.Wait()
		if recs := b.records(); len(recs) != 1 || recs[0].Kind != accesslog.KindStart {
			t.Fatalf("at the start: %+v", recs)
		}
		var last time.Time
		for hour := range 24 {
			for range 60 {
				if _, err := c.Write(make([]byte, 10)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
			recs := b.records()
			r := recs[len(recs)-1]
			if want := int64((hour+1)*600 - 60); r.Kind != accesslog.KindAlive || r.BytesRx < want || r.Ended() {
				t.Fatalf("after %d hours: %+v, want %d bytes", hour+1, r, want)
			}
			last = time.Now()
		}
		_ = c.Close()
		_ = far.Close()
		synctest.Wait()
		recs := b.records()
		if n := len(recs); n < 24*12 || n > 24*60/4 {
			t.Errorf("%d records in a day", n)
		}
		for id, r := range ends(t, recs) {
			if r.BytesRx != 24*600 || !r.EndedAt.Equal(last) || r.Seq != int64(len(recs)-1) {
				t.Errorf("%s: %+v", id, r)
			}
		}
		mustStop(t, stop)
	})
}

func TestFault8IPv6AddressesHaveBracketsAndParse(t *testing.T) {
	b := newFakeBus(t)
	tr, stop := run(t, accesslog.Config{}, b)
	tests := []struct{ source, dest, wantSource, wantDest string }{
		{"192.0.2.1:50000", "10.0.0.1:22", "192.0.2.1:50000", "10.0.0.1:22"},
		{"[2001:db8::1]:50000", "[2001:db8::2]:22", "[2001:db8::1]:50000", "[2001:db8::2]:22"},
		{"[::ffff:192.0.2.1]:50000", "[::ffff:10.0.0.1]:22", "192.0.2.1:50000", "10.0.0.1:22"},
		{"[fe80::1%eth0]:50000", "db.example:5432", "[fe80::1%eth0]:50000", "db.example:5432"},
		{"[2001:0db8:0:0::1]:1", "[2001:0DB8::2]:22", "[2001:db8::1]:1", "[2001:db8::2]:22"},
	}
	want := map[string]int{}
	for i, test := range tests {
		s := tr.Start(accesslog.Flow{Resource: 1, Source: netip.MustParseAddrPort(test.source), Dest: test.dest})
		want[s.ID()] = i
	}
	mustStop(t, stop)
	for id, r := range ends(t, b.records()) {
		test := tests[want[id]]
		if r.SourceAddr != test.wantSource || r.DestAddr != test.wantDest {
			t.Errorf("%s to %s: got %s to %s", test.source, test.dest, r.SourceAddr, r.DestAddr)
		}
		if _, err := netip.ParseAddrPort(r.SourceAddr); err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct{ in, host, port string }{
		{"1.2.3.4:5", "1.2.3.4", "5"}, {"[2001:db8::1]:443", "2001:db8::1", "443"}, {"1.2.3.4", "1.2.3.4", ""},
		{"2001:db8::1", "2001:db8::1", ""}, {"[2001:db8::1]", "2001:db8::1", ""}, {"name:80", "name", "80"}, {"", "", ""},
		{"2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2:3:4:5:6", "443"}, // as the field joins it
		{"2001:db8::1:50000", "2001:db8::1", "50000"},               // no group has five digits
		{"2001:db8::1:443", "2001:db8::1:443", ""},                  // may be either
	} {
		if host, port := accesslog.SplitAddr(test.in); host != test.host || port != test.port {
			t.Errorf("%q: %q and %q", test.in, host, port)
		}
	}
}

func TestFault9InflationIsBounded(t *testing.T) {
	const first = `[{"sessionId":"0123456789abcdef","resourceId":1,"sourceAddr":"1.1.1.1:1","destAddr":"2.2.2.2:2",` +
		`"protocol":"tcp","startedAt":"2026-01-01T00:00:00Z","endedAt":"2026-01-01T00:00:01Z","bytesTx":1,"bytesRx":2}`
	for _, test := range []struct{ name, head, fill string }{
		{"one long text", first + `,{"sessionId":"`, "a"},
		{"white space", first + ",", " "},
		{"many records", first, ",{}"},
		{"deep nesting", first + ",", "["},
	} {
		t.Run(test.name, func(t *testing.T) {
			bomb := inflateBomb(t, test.head, test.fill, 10_000)
			t.Logf("%d bytes inflate to 10 GB", len(bomb))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			recs, err := accesslog.InflateBatch(bomb, accesslog.Limits{Encoded: 64 << 20, Inflated: 4 << 20})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, accesslog.ErrTooLarge) && !errors.Is(err, accesslog.ErrCorrupt) {
				t.Errorf("error: %v", err)
			}
			if len(recs) != 1 {
				t.Errorf("%d records kept of the one that is good", len(recs))
			}
			if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 40 {
				t.Errorf("%d MB allocated", mb)
			}
			if _, err := accesslog.InflateBatch(bomb, accesslog.Limits{}); !errors.Is(err, accesslog.ErrTooLarge) {
				t.Errorf("with the usual limits: %v", err)
			}
		})
	}
}

// inflateBomb is zlib of head and then megabytes of fill: one compressed
// megabyte, again and again.
func inflateBomb(t *testing.T, head, fill string, megabytes int) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw, _ := zlib.NewWriterLevel(&buf, zlib.BestCompression)
	_, _ = io.WriteString(zw, head)
	_ = zw.Flush()
	chunk := []byte(strings.Repeat(fill, 1<<20/len(fill)))
	var from int
	for range 3 { // the first differs, as it has something else before it
		from = buf.Len()
		_, _ = zw.Write(chunk)
		_ = zw.Flush()
	}
	piece := bytes.Clone(buf.Bytes()[from:])
	for range megabytes {
		buf.Write(piece)
	}
	return buf.Bytes()
}
