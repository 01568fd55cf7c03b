package web_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// liveText is the output that an event of a live view brings.
func liveText(t testing.TB, e sseEvent) string {
	t.Helper()
	if e.event != "output" {
		return ""
	}
	return outputOf(t, e.data+"\n")
}

func TestALiveSessionIsSeenAsItHappens(t *testing.T) {
	s := newSite(t)
	l := s.live("run", "joe", "db-1")
	_, err := l.Write([]byte("before\r\n"))
	must(t, err)
	st := s.stream(s.admin, "/sessions/run/live")
	if e, _ := st.next(); e.event != "event" || !strings.Contains(e.data, `"session.start"`) || e.id != "0" {
		t.Errorf("first event is %v", e)
	}
	if e, _ := st.next(); liveText(t, e) != "before\r\n" {
		t.Errorf("second event is %v", e)
	}
	for _, key := range []string{"x", "y"} {
		typed := time.Now()
		_, err = l.Write([]byte(key))
		must(t, err)
		e := st.until(key, func(e sseEvent) bool { return e.event == "output" })
		if liveText(t, e) != key || time.Since(typed) > time.Second {
			t.Errorf("%v after %v", e, time.Since(typed))
		}
	}
	must(t, l.Emit(t.Context(), &events.Resize{TerminalSize: "120:40"}))
	if e, _ := st.next(); !strings.Contains(e.data, `"r","120x40"`) {
		t.Errorf("resize is %v", e)
	}
	must(t, l.End(t.Context()))
	rest := st.all()
	if len(rest) != 2 || !strings.Contains(rest[0].data, `"session.end"`) || rest[1].event != "end" {
		t.Errorf("it ends with %v", rest)
	}
}

func TestAViewerThatComesBackGoesOnBehindWhatItHad(t *testing.T) {
	s := newSite(t)
	l := s.live("run", "joe", "db-1")
	for i := range 5 {
		_, err := fmt.Fprintf(l, "line %d\r\n", i)
		must(t, err)
		must(t, l.Flush(t.Context()))
	}
	if e, _ := s.stream(s.admin, "/sessions/run/live?from_index=3").next(); e.id != "3" {
		t.Errorf("from_index=3 begins with %v", e)
	}
	if e, _ := s.stream(s.admin, "/sessions/run/live?from_index=1", "Last-Event-ID", "3").next(); e.id != "4" {
		t.Errorf("after event 3 comes %v", e)
	}
	// One that is ahead of the session waits for what comes.
	st := s.stream(s.admin, fmt.Sprintf("/sessions/run/live?from_index=%d", l.Next()))
	_, err := l.Write([]byte("new"))
	must(t, err)
	if e, _ := st.next(); liveText(t, e) != "new" {
		t.Errorf("it gets %v", e)
	}
}

func TestFinishedSessionsCanBeFollowedToTheirEnd(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	all := s.stream(s.admin, "/sessions/story/live").all()
	var text strings.Builder
	for _, e := range all {
		text.WriteString(liveText(t, e))
	}
	if text.String() != "$ ls\r\nhéllo\r\nbye\r\n" || all[len(all)-1].event != "end" {
		t.Errorf("it showed %q and ended with %v", text.String(), all[len(all)-1])
	}
}

func TestALiveDesktopIsSent(t *testing.T) {
	s := newSite(t)
	sc := newScript(t, desktopStart()).wait(time.Second).message([]byte{3, 0, 0, 0, 1, 0, 0, 0, 2})
	s.finished("desk", sc)
	all := s.stream(s.admin, "/sessions/desk/live").all()
	if len(all) != 3 || all[1].event != "desktop" {
		t.Fatalf("it sent %v", all)
	}
	raw, err := base64.StdEncoding.DecodeString(all[1].data)
	must(t, err)
	if want := "0000001100000" + "3e800000001" + "030000000100000002"; fmt.Sprintf("%x", raw) != want {
		t.Errorf("message is %x, want %s", raw, want)
	}
}

// What a live session has on its tape is bounded; whoever wants more reads it where
// it is kept, and is then brought aboard.
func TestAViewerCatchesUpWithALongSession(t *testing.T) {
	s := newSite(t)
	l := s.live("long", "joe", "db-1")
	const events, size = 300, 40_000 // 12 MB, more than the tape holds
	for i := range events {
		_, err := fmt.Fprintf(l, "<%d>%s", i, noise(size, uint64(i)))
		must(t, err)
	}
	must(t, l.Flush(t.Context()))
	first := s.stream(s.admin, "/sessions/long/live") // begins the tape
	first.until("the newest", func(e sseEvent) bool { return strings.Contains(liveText(t, e), fmt.Sprintf("<%d>", events-1)) })
	st := s.stream(s.admin, "/sessions/long/live")
	_, err := l.Write([]byte("<now>"))
	must(t, err)
	must(t, l.End(t.Context()))
	var text strings.Builder
	last := int64(-1)
	for _, e := range st.all() {
		text.WriteString(liveText(t, e))
		if e.event != "output" {
			continue
		}
		var line []any
		must(t, json.Unmarshal([]byte(e.data), &line))
		if index := int64(line[1].(float64)); index <= last {
			t.Fatalf("event %d after %d", index, last)
		} else {
			last = index
		}
	}
	got := text.String()
	at := 0
	for i := range events {
		next := strings.Index(got[at:], fmt.Sprintf("<%d>", i))
		if next < 0 {
			t.Fatalf("line %d is missing", i)
		}
		at += next
	}
	if !strings.HasSuffix(got, "<now>") {
		t.Errorf("it ends with %q", got[len(got)-20:])
	}
}

// viewer opens a live view on a connection of its own and returns it with what it
// sends after the headers unread.
func viewer(t testing.TB, s *site, path string, receive int) net.Conn {
	t.Helper()
	addr := strings.TrimPrefix(s.url, "http://")
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	if receive > 0 {
		must(t, conn.(*net.TCPConn).SetReadBuffer(receive))
	}
	_, err = fmt.Fprintf(conn, "GET /api/v1%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, addr, s.admin)
	must(t, err)
	return conn
}

func TestAViewerThatStopsReadingIsDroppedAndNobodyElse(t *testing.T) {
	s := newSite(t, func(c *web.Config) { c.Stall = 500 * time.Millisecond })
	l := s.live("run", "joe", "db-1")
	stuck := viewer(t, s, "/sessions/run/live", 64<<10)
	defer stuck.Close()
	good := s.stream(s.admin, "/sessions/run/live")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 400 {
			if _, err := l.Write([]byte(noise(40_000, uint64(i)))); err != nil {
				t.Error(err)
				return
			}
		}
		if err := l.End(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	all := good.all()
	<-done
	if last := all[len(all)-1]; last.event != "end" {
		t.Errorf("the good viewer's stream ended with %v", last)
	}
	// What was in buffers comes, and then the reason, or the end of the connection if
	// not even that was taken in time.
	must(t, stuck.SetReadDeadline(time.Now().Add(30*time.Second)))
	resp, err := http.ReadResponse(bufio.NewReader(stuck), nil)
	must(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	n := len(got)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Errorf("the viewer that did not read is still connected after %d bytes", n)
	}
	if err == nil && !strings.Contains(string(got), "event: dropped\n") {
		t.Errorf("the viewer that did not read got a whole answer of %d bytes", n)
	}
	if n > 14<<20 {
		t.Errorf("the viewer that did not read got %d bytes", n)
	}
}

func TestAViewerThatFallsBehindIsToldWhyItIsDropped(t *testing.T) {
	s := newSite(t)
	l := s.live("run", "joe", "db-1")
	slow := s.stream(s.admin, "/sessions/run/live")
	slow.next()
	for i := range 600 { // 24 MB, three times what the tape holds
		_, err := l.Write([]byte(noise(40_000, uint64(i))))
		must(t, err)
	}
	must(t, l.Flush(t.Context()))
	s.stream(s.admin, fmt.Sprintf("/sessions/run/live?from_index=%d", l.Next()-1)).next() // the tape is there
	e := slow.until("it is dropped", func(e sseEvent) bool { return e.event == "dropped" })
	if !strings.Contains(e.data, "did not keep up") {
		t.Errorf("reason is %s", e.data)
	}
	// It can go on where it was.
	if _, err := l.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
}

// pump publishes keystrokes for a while and returns how long each took to be
// acknowledged, on average.
func pump(t testing.TB, l *recorder.Session, n int) time.Duration {
	t.Helper()
	began := time.Now()
	for i := range n {
		_, err := fmt.Fprintf(l, "line %d of what a person could type\r\n", i)
		must(t, err)
		must(t, l.Flush(t.Context()))
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)/time.Duration(n) - 10*time.Millisecond
}

// A thousand viewers of one session cost one reader of the bus and one buffer.
func TestAThousandViewersDoNotSlowWhoRecords(t *testing.T) {
	viewers, keys := 1000, 100
	if raceOn {
		viewers, keys = 50, 20
	}
	s := newSite(t, func(c *web.Config) { c.Stall = 5 * time.Second })
	l := s.live("run", "joe", "db-1")
	alone := pump(t, l, keys)
	var got atomic.Int64
	var wg sync.WaitGroup
	from := l.Next()
	for range viewers {
		conn := viewer(t, s, fmt.Sprintf("/sessions/run/live?from_index=%d", from), 0)
		defer conn.Close()
		wg.Go(func() {
			buf := make([]byte, 4<<10)
			text := ""
			for {
				n, err := conn.Read(buf)
				text += string(buf[:n])
				if strings.Contains(text, "event: end") {
					got.Add(1)
					return
				}
				if err != nil {
					t.Errorf("a viewer's connection ended with %v", err)
					return
				}
				text = text[max(len(text)-20, 0):]
			}
		})
	}
	eventually(t, "all watch", func() bool { return s.count.opened() == 0 && consumers(s) == 1 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	watched := pump(t, l, keys)
	runtime.GC()
	runtime.ReadMemStats(&after)
	must(t, l.End(t.Context()))
	wg.Wait()
	if got.Load() != int64(viewers) {
		t.Errorf("%d of %d viewers saw the end", got.Load(), viewers)
	}
	t.Logf("an acknowledgement took %v alone and %v with %d viewers; heap in use %d MiB before and %d MiB after", alone, watched, viewers,
		before.HeapInuse>>20, after.HeapInuse>>20)
	if !raceOn && watched > alone+50*time.Millisecond {
		t.Errorf("an acknowledgement took %v with %d viewers, %v without", watched, viewers, alone)
	}
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB while %d watched", grown>>20, viewers)
	}
}

// consumers is how many read the session's events off the bus.
func consumers(s *site) int {
	n := 0
	for p := range s.layout.Partitions {
		stream, err := s.conn.JetStream().Stream(s.t.Context(), fmt.Sprintf("EVENTS-%d", p))
		must(s.t, err)
		info, err := stream.Info(s.t.Context())
		must(s.t, err)
		n += info.State.Consumers
	}
	return n
}

func TestReadingStopsWhenTheViewerLeaves(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	for i := range 300 {
		sc.print(noise(60_000, uint64(i))) // 18 MB
	}
	s.finished("big", sc)
	ctx, cancel := context.WithCancel(t.Context())
	r := s.request(s.admin, http.MethodGet, "/sessions/big/output", nil).WithContext(ctx)
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	_, err = io.ReadFull(resp.Body, make([]byte, 1000))
	must(t, err)
	cancel()
	resp.Body.Close()
	eventually(t, "nothing is read any more", func() bool { return s.count.opened() == 0 })
	n := int64(0)
	for _, r := range s.count.all() {
		n += r.n
	}
	if n > 12<<20 {
		t.Errorf("%d bytes were read for a viewer that took 1000", n)
	}
}

func TestASlowViewerHoldsTheReadingUp(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	for i := range 500 {
		sc.print(noise(60_000, uint64(i))) // 30 MB
	}
	s.finished("big", sc)
	conn := viewer(t, s, "/sessions/big/output", 4<<10)
	defer conn.Close()
	read := func() (n int64) {
		for _, r := range s.count.all() {
			n += r.n
		}
		return n
	}
	var last int64
	still := 0
	eventually(t, "the reading stands still", func() bool {
		n := read()
		if n == last && n > 0 {
			still++
		} else {
			still = 0
		}
		last = n
		return still > 20
	})
	if last > 20<<20 {
		t.Errorf("%d bytes were read for a viewer that takes none", last)
	}
}
