package web_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/screen"
	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// story is a terminal session of 10 s with a bit of everything.
func story(t testing.TB) *script {
	return terminal(t, "joe", "db-1").
		wait(time.Second).print("$ ls\r\n").
		wait(500 * time.Millisecond).add(&events.Resize{TerminalSize: "100:30"}).
		add(&events.SessionJoin{User: &events.UserMetadata{User: "ann"}}).
		wait(6 * time.Second).print("h\xc3").print("\xa9llo\r\n").
		wait(2 * time.Second).add(&events.SessionCommand{Path: "/bin/ls", Argv: []string{"-l"}}).
		wait(500 * time.Millisecond).print("bye\r\n").add(&events.SessionEnd{})
}

func TestTimelineSaysWhatASeekBarShows(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	var got seekindex.Timeline
	s.want("/sessions/story/timeline", &got)
	if got.DurationMS != 10_000 || got.Kind != "terminal" || got.Cols != 80 || got.Rows != 24 || got.BucketMS != 100 || len(got.Activity) != 101 {
		t.Errorf("timeline is %+v", got)
	}
	if want := []seekindex.Idle{{FromMS: 1500, ToMS: 7500}, {FromMS: 7500, ToMS: 9500}}; fmt.Sprint(got.Idle) != fmt.Sprint(want) {
		t.Errorf("idle is %v, want %v", got.Idle, want)
	}
	if want := []seekindex.Size{{Cols: 80, Rows: 24}, {TMS: 1500, Cols: 100, Rows: 30}}; fmt.Sprint(got.Sizes) != fmt.Sprint(want) {
		t.Errorf("sizes are %v, want %v", got.Sizes, want)
	}
	var labels []string
	for _, m := range got.Markers {
		labels = append(labels, fmt.Sprintf("%d %s %s", m.TMS, m.Type, m.Label))
	}
	want := "0 session.start joe|1500 resize 100x30|1500 session.join ann|9500 session.command /bin/ls -l|10000 session.end "
	if strings.Join(labels, "|") != want {
		t.Errorf("markers are %q, want %q", strings.Join(labels, "|"), want)
	}
	if len(got.Problems) != 0 || got.Activity[10] == 0 || got.Activity[20] != 0 {
		t.Errorf("problems %v, activity %v", got.Problems, got.Activity)
	}
}

func TestTimelineIsBoundedHoweverLongTheSessionIs(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	for range 6000 {
		sc.wait(time.Minute).add(&events.SessionLeave{User: &events.UserMetadata{User: strings.Repeat("x", 1000)}})
	}
	s.finished("long", sc)
	var got seekindex.Timeline
	s.want("/sessions/long/timeline", &got)
	if len(got.Activity) > 1000 || len(got.Activity) < 500 || len(got.Markers) != 5000 || got.Omitted != 1001 || len(got.Idle) > 5000 || got.DurationMS != 6000*60_000 {
		t.Errorf("%d buckets, %d markers, %d idle stretches in %d ms", len(got.Activity), len(got.Markers), len(got.Idle), got.DurationMS)
	}
	sum := int64(0)
	for _, n := range got.Activity {
		sum += n
	}
	var raw int64
	for _, r := range sc.records {
		raw += int64(len(r))
	}
	if sum != raw {
		t.Errorf("activity adds up to %d, the events have %d bytes", sum, raw)
	}
	if n := len([]rune(got.Markers[1].Label)); n != 201 {
		t.Errorf("a label has %d runes", n)
	}
}

func TestEventsByIndexAndByTime(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	indexes := func(query string) string {
		t.Helper()
		var got []string
		for line := range strings.Lines(s.want("/sessions/story/events?"+query, nil)) {
			var e struct {
				TMS   int64 `json:"t_ms"`
				Index int64
				Event map[string]any
			}
			must(t, json.Unmarshal([]byte(line), &e))
			if int64(e.Event["ei"].(float64)) != e.Index {
				t.Errorf("index %d of %v", e.Index, e.Event)
			}
			got = append(got, fmt.Sprintf("%d@%d", e.Index, e.TMS))
		}
		return strings.Join(got, " ")
	}
	tests := []struct{ query, want string }{
		{"", "0@0 2@1500 3@1500 6@9500 8@10000"},
		{"prints=1", "0@0 1@1000 2@1500 3@1500 4@7500 5@7500 6@9500 7@10000 8@10000"},
		{"prints=1&from_index=2&to_index=5", "2@1500 3@1500 4@7500"},
		{"prints=1&from_index=7", "7@10000 8@10000"},
		{"prints=1&from_ms=1500&to_ms=9500", "2@1500 3@1500 4@7500 5@7500"},
		{"prints=1&from_ms=9501", "7@10000 8@10000"},
		{"limit=2", "0@0 2@1500"},
		{"from_index=5&limit=1", "6@9500"},
		{"to_index=0", ""},
		{"to_ms=0", ""},
		{"from_index=100", ""},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			if got := indexes(tt.query); got != tt.want {
				t.Errorf("events are %s, want %s", got, tt.want)
			}
		})
	}
}

// A range ends where the clock of the player has come to its end. Events behind that
// whose own clock was set back are not in it.
func TestARangeEndsBeforeAClockThatWasSetBack(t *testing.T) {
	s := newSite(t)
	s.finished("back", terminal(t, "joe", "db-1").wait(time.Second).print("one ").wait(7*time.Second).print("eight ").
		wait(-5*time.Second).print("three? ").wait(10*time.Second).print("thirteen").add(&events.SessionEnd{}))
	tests := []struct {
		to     int64
		events int
		output string
	}{
		{5000, 2, "one "}, {8001, 4, "one eight three? "}, {13_000, 4, "one eight three? "}, {13_001, 6, "one eight three? thirteen"},
	}
	for _, tt := range tests {
		query := fmt.Sprintf("to_ms=%d", tt.to)
		if n := strings.Count(s.want("/sessions/back/events?prints=1&"+query, nil), "\n"); n != tt.events {
			t.Errorf("%d events before %d ms, want %d", n, tt.to, tt.events)
		}
		if got := outputOf(t, s.want("/sessions/back/output?"+query, nil)); got != tt.output {
			t.Errorf("output before %d ms is %q, want %q", tt.to, got, tt.output)
		}
	}
}

// A size that no terminal has comes to the page as the largest that one takes.
func TestASizeThatIsTooLargeIsTheLargestThereIs(t *testing.T) {
	s := newSite(t)
	s.finished("large", terminal(t, "joe", "db-1").wait(time.Second).add(&events.Resize{TerminalSize: "65535:65535"}).add(&events.SessionEnd{}))
	size := seekindex.Size{TMS: 1000, Cols: screen.MaxCols, Rows: screen.MaxRows}
	var line seekindex.Timeline
	s.want("/sessions/large/timeline", &line)
	if len(line.Sizes) != 2 || line.Sizes[1] != size {
		t.Errorf("sizes are %v, want %v in the end", line.Sizes, size)
	}
	if got, want := s.want("/sessions/large/output", nil), fmt.Sprintf(`[1000,1,"r","%dx%d"]`, size.Cols, size.Rows); !strings.Contains(got, want) {
		t.Errorf("output is %s, and has no %s", got, want)
	}
}

func TestOutputIsWhatTheTerminalShowed(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	got := s.want("/sessions/story/output", nil)
	want := `[0,0,"e","session.start"]
[1000,1,"o","$ ls\r\n"]
[1500,2,"r","100x30"]
[1500,3,"e","session.join"]
[7500,4,"o","h"]
[7500,5,"o","éllo\r\n"]
[9500,6,"e","session.command"]
[10000,7,"o","bye\r\n"]
[10000,8,"e","session.end"]
`
	if got != want {
		t.Errorf("output is\n%s, want\n%s", got, want)
	}
}

// Whatever ranges a player asks for, one after the other, the text is whole.
func TestOutputNeverCutsACharacter(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	text := "aé漢😀 naïve 東京 ☕"
	for i := range len(text) { // each byte in an event of its own
		sc.wait(10 * time.Millisecond).print(text[i : i+1])
	}
	s.finished("bytes", sc)
	if got := outputOf(t, s.want("/sessions/bytes/output", nil)); got != text {
		t.Errorf("whole output is %q", got)
	}
	n := len(sc.records)
	for cut := 1; cut < n; cut++ {
		got := outputOf(t, s.want(fmt.Sprintf("/sessions/bytes/output?to_index=%d", cut), nil)) +
			outputOf(t, s.want(fmt.Sprintf("/sessions/bytes/output?from_index=%d", cut), nil))
		if got != text {
			t.Errorf("cut before event %d: %q", cut, got)
		}
	}
}

func TestRawOutputByOffset(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	var whole strings.Builder
	for i := range 40 {
		data := fmt.Sprintf("<%d>%s", i, noise(50_000, uint64(i)))
		sc.wait(time.Second).print(data)
		whole.WriteString(data)
	}
	s.put("raw", 128<<10, sc.records) // many parts
	s.sync()
	all := whole.String()
	for _, tt := range []struct{ offset, limit int }{
		{0, 10}, {0, 5 << 20}, {49_990, 30}, {50_003, 1}, {1_000_000, 100_000}, {len(all) - 5, 100}, {len(all) - 100_000, 5 << 20},
	} {
		got := s.want(fmt.Sprintf("/sessions/raw/raw?offset=%d&limit=%d", tt.offset, tt.limit), nil)
		if want := all[tt.offset:min(tt.offset+tt.limit, len(all))]; got != want {
			t.Errorf("offset %d, limit %d: %d bytes, want %d", tt.offset, tt.limit, len(got), len(want))
		}
	}
	// The end is found by looking at few parts, and never at the first.
	s.count.reset()
	s.want(fmt.Sprintf("/sessions/raw/raw?offset=%d", len(all)-10), nil)
	for _, r := range s.count.all() {
		if r.off == 0 {
			t.Errorf("the first part was read: %+v", s.count.all())
		}
	}
	wantError(t, s.get(fmt.Sprintf("/sessions/raw/raw?offset=%d", len(all)+1)), http.StatusRequestedRangeNotSatisfiable, "range")
	wantError(t, s.get("/sessions/raw/raw?limit=5242881"), http.StatusBadRequest, "bad_request")
}

// A request for the end reads the parts that the end is in, by the manifest.
func TestRangesReadOnlyTheirParts(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1")
	for i := range 60 {
		sc.wait(time.Minute).print(noise(60_000, uint64(i)))
	}
	m := s.put("hour", 300<<10, sc.records)
	s.sync()
	last := m.Parts[len(m.Parts)-1]
	if len(m.Parts) < 5 {
		t.Fatalf("%d parts", len(m.Parts))
	}
	for _, query := range []string{
		"output?from_ms=3590000", fmt.Sprintf("output?from_index=%d", last.LastIndex), "events?from_ms=3590000&prints=1",
		fmt.Sprintf("events?from_index=%d", last.LastIndex),
	} {
		s.count.reset()
		s.want("/sessions/hour/"+query, nil)
		reads := s.count.all()
		if len(reads) == 0 {
			t.Errorf("%s: nothing was read", query)
		}
		for _, r := range reads {
			if r.off < last.Offset {
				t.Errorf("%s: read from byte %d, the last part begins at %d", query, r.off, last.Offset)
			}
		}
	}
}

func TestDesktopMessagesAreFramed(t *testing.T) {
	s := newSite(t)
	sc := newScript(t, desktopStart())
	size := append([]byte{1}, 0, 0, 5, 0, 0, 0, 3, 32)
	sc.message(size).wait(250 * time.Millisecond).message([]byte{3, 0, 0, 0, 1, 0, 0, 0, 2}).wait(time.Second).
		add(&events.DesktopRecording{TdpbMessage: []byte("x")}).message([]byte{2, 9, 9})
	s.finished("desk", sc)
	var list struct{ Sessions []struct{ Kind string } }
	s.want("/sessions?kind=desktop", &list)
	if len(list.Sessions) != 1 {
		t.Errorf("%d desktops are listed", len(list.Sessions))
	}
	body := []byte(s.want("/sessions/desk/desktop", nil))
	var got []string
	for len(body) > 0 {
		n := binary.BigEndian.Uint32(body)
		rec := body[4 : 4+n]
		got = append(got, fmt.Sprintf("%d %d %x", binary.BigEndian.Uint32(rec), binary.BigEndian.Uint32(rec[4:]), rec[8:]))
		body = body[4+n:]
	}
	want := "0 1 010000050000000320|250 2 030000000100000002|1250 3 |1250 4 020909"
	if strings.Join(got, "|") != want {
		t.Errorf("messages are %q, want %q", strings.Join(got, "|"), want)
	}
	var tl seekindex.Timeline
	s.want("/sessions/desk/timeline", &tl)
	if tl.Kind != "desktop" || tl.Cols != 1280 || tl.Rows != 800 {
		t.Errorf("timeline is %+v", tl)
	}
	wantError(t, s.get("/sessions/desk/cast"), http.StatusConflict, "desktop")
	wantError(t, s.get("/sessions/desk/screen?at_ms=100"), http.StatusNotFound, "no_keyframe")
}

func desktopStart() events.Event {
	return &events.WindowsDesktopSessionStart{User: &events.UserMetadata{User: "joe"}, DesktopName: "win-1", WindowsUser: "admin"}
}

func TestDownloads(t *testing.T) {
	s := newSite(t)
	m := s.finished("story", story(t))
	cast := s.want("/sessions/story/cast?version=2", nil)
	if !strings.HasPrefix(cast, `{"version":2,"width":80,"height":24`) || !strings.Contains(cast, `[7.5,"o","éllo\r\n"]`) && !strings.Contains(cast, `"éllo\r\n"]`) {
		t.Errorf("cast is %s", cast)
	}
	if cast := s.want("/sessions/story/cast?version=3", nil); !strings.HasPrefix(cast, `{"version":3,`) {
		t.Errorf("cast is %s", cast)
	}
	a := s.get("/sessions/story/export?format=text")
	if a.body != "$ ls\r\nhéllo\r\nbye\r\n" || a.header.Get("Content-Disposition") != `attachment; filename="story.txt"` {
		t.Errorf("text is %q, %v", a.body, a.header)
	}
	if lines := strings.Count(s.want("/sessions/story/export?format=json", nil), "\n"); lines != 9 {
		t.Errorf("%d lines of JSON", lines)
	}
	whole := s.want("/sessions/story/recording", nil)
	if int64(len(whole)) != m.Bytes {
		t.Errorf("recording has %d bytes, want %d", len(whole), m.Bytes)
	}
	r := s.request(s.admin, http.MethodGet, "/sessions/story/recording", nil)
	r.Header.Set("Range", "bytes=10-19")
	if a := s.do(r); a.status != http.StatusPartialContent || a.body != whole[10:20] {
		t.Errorf("range is %d %q", a.status, a.body)
	}
	if mf := s.want("/sessions/story/manifest", nil); !strings.Contains(mf, `"session": "story"`) {
		t.Errorf("manifest is %s", mf)
	}
}

func TestSessionSaysWhatIsKnown(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	var d struct {
		Session, State, Outcome, Kind, User, Login, Host string
		DurationMS                                       int64 `json:"duration_ms"`
		Manifest, Indexed                                bool
		Verify                                           *struct {
			OK      bool
			Verdict string
		}
		Metadata struct{ Participants []string }
	}
	s.want("/sessions/story", &d)
	if d.State != "finished" || d.Outcome != "complete" || d.Kind != "terminal" || d.User != "joe" || d.Login != "root" || d.Host != "db-1" ||
		d.DurationMS != 10_000 || !d.Manifest || d.Verify != nil || fmt.Sprint(d.Metadata.Participants) != "[joe ann]" {
		t.Errorf("session is %+v", d)
	}
	if a := s.do(s.request(s.admin, http.MethodPost, "/sessions/story/verify", nil)); a.status != http.StatusOK || !strings.Contains(a.body, `"ok":true`) {
		t.Errorf("verify is %d %s", a.status, a.body)
	}
	s.want("/sessions/story", &d)
	if d.Verify == nil || !d.Verify.OK || d.Verify.Verdict != "ok" {
		t.Errorf("what verify found is not remembered: %+v", d.Verify)
	}
}

func TestETagsCompressionAndHeaders(t *testing.T) {
	s := newSite(t)
	sc := story(t)
	for range 100 {
		sc.print("the same line again and again\r\n")
	}
	s.finished("story", sc)
	for _, path := range []string{"/sessions", "/sessions/story", "/sessions/story/timeline", "/sessions/story/output?from_index=3", "/sessions/story/recording", "/sessions/story/cast"} {
		a := s.get(path)
		tag := a.header.Get("ETag")
		if a.status != http.StatusOK || tag == "" || !strings.Contains(a.header.Get("Cache-Control"), "private") {
			t.Errorf("%s: %d, %v", path, a.status, a.header)
			continue
		}
		r := s.request(s.admin, http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", `"other", `+tag)
		if again := s.do(r); again.status != http.StatusNotModified || again.body != "" {
			t.Errorf("%s again: %d %q", path, again.status, again.body)
		}
	}
	if a, b := s.get("/sessions/story/output?from_index=3").header.Get("ETag"), s.get("/sessions/story/output").header.Get("ETag"); a == b {
		t.Error("two ranges have one ETag")
	}
	r := s.request(s.admin, http.MethodGet, "/sessions/story/output", nil)
	r.Header.Set("Accept-Encoding", "gzip") // set by hand it is not undone by the client
	a := s.do(r)
	if a.header.Get("Content-Encoding") != "gzip" || len(a.body) > 1500 {
		t.Errorf("%d bytes, %v", len(a.body), a.header)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; ", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
	} {
		if got := a.header.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q", name, got)
		}
	}
}
