package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/seekindex"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

func TestBadPathsAreAnsweredPlainly(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	for _, sid := range []string{"..%2fstory", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a.b", "story.late", "a%00b", "%20", strings.Repeat("x", 65), "%f0%9f%98%80", "*", "%3E"} {
		for _, op := range ofSession {
			method, path := pathOf(op, sid)
			if a := s.do(s.request(s.admin, method, path, nil)); a.status != http.StatusBadRequest && a.status != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	for _, path := range []string{"/sessions/nobody", "/sessions/nobody/output", "/sessions/nobody/live", "/sessions/story/nothing", "/sessions/story/output/x"} {
		wantError(t, s.get(path), http.StatusNotFound, "not_found")
	}
	for _, path := range []string{"/api/v1/../../etc/passwd", "/api/v1/sessions/../../../x", "/s/../../x"} {
		r := s.request(s.admin, http.MethodGet, "/", nil)
		r.URL.Path = path
		if a := s.do(r); a.status == http.StatusOK && !strings.Contains(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestHugeAndBackwardRangesAreRefusedOrEmpty(t *testing.T) {
	s := newSite(t)
	m := s.finished("story", story(t))
	for _, bad := range []string{
		"from_index=-1", "from_index=99999999999999999999999", "to_index=1e9", "from_ms=9223372036854775807", "to_ms=-5", "from_index=5&to_index=4",
		"from_ms=100&to_ms=99", "from_index=0x10", "from_ms=%00",
	} {
		for _, what := range []string{"events", "output", "desktop", "raw?offset=1&", "live?"} {
			path := "/sessions/story/" + what + "?" + bad
			if strings.Contains(what, "?") {
				path = "/sessions/story/" + what + bad
			}
			a := s.get(path)
			if strings.HasPrefix(what, "live") && !strings.HasPrefix(bad, "from_index") || what == "live?" && bad == "from_index=5&to_index=4" {
				continue // it knows only from_index
			}
			wantError(t, a, http.StatusBadRequest, "bad_request")
		}
	}
	for _, empty := range []string{"from_index=1099511627776", "from_ms=1000000000000", "from_index=3&to_index=3"} {
		if got := s.want("/sessions/story/output?"+empty, nil); got != "" {
			t.Errorf("%s: %q", empty, got)
		}
	}
	whole := s.want("/sessions/story/recording", nil)
	for header, want := range map[string]struct {
		status int
		body   string
	}{
		"bytes=0-99999999999999":                            {206, whole},
		"bytes=-99999999999999":                             {206, whole},
		"bytes=99999999999-":                                {416, ""},
		"bytes=5-4":                                         {416, ""},
		"bytes=99999999999999999999999-":                    {416, ""},
		"bytes=0-" + strings.Repeat(",0-", 10_000):          {200, whole}, // more than it has bytes: the whole
		fmt.Sprintf("bytes=%d-%d", m.Bytes-1, int64(1)<<62): {206, whole[len(whole)-1:]},
	} {
		r := s.request(s.admin, http.MethodGet, "/sessions/story/recording", nil)
		r.Header.Set("Range", header)
		a := s.do(r)
		if a.status != want.status && a.status != http.StatusRequestedRangeNotSatisfiable && a.status != http.StatusRequestHeaderFieldsTooLarge || want.body != "" && a.status == want.status && a.body != want.body {
			t.Errorf("%.40s: %d, %d bytes; want %d", header, a.status, len(a.body), want.status)
		}
	}
}

// damagedAt stores a recording of two parts of which bytes in the second are
// changed, or that ends there.
func (s *site) broken(sid string, truncate bool) *slicefmt.Manifest {
	s.t.Helper()
	sc := terminal(s.t, "joe", "db-1")
	for i := range 8 {
		sc.wait(time.Second).print(fmt.Sprintf("<%d>", i) + noise(60_000, uint64(i)))
	}
	whole, m := build(s.t, sid, s.store.Key(sid+".tar"), 128<<10, sc.records)
	at := m.Parts[1].Offset + m.Parts[1].Bytes/2
	if truncate {
		whole = whole[:at]
	} else {
		for i := range int64(64) {
			whole[at+i] ^= 0xff
		}
	}
	s.object(sid+".tar", whole)
	s.manifest(sid, m)
	s.sync()
	return m
}

func TestABrokenRecordingShowsWhatIsGoodAndSaysWhereItEnds(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		name, kind, verdict string
		truncate            bool
	}{{"corrupt", "corrupt", "corrupt", false}, {"truncated", "truncated", "truncated", true}} {
		t.Run(tt.name, func(t *testing.T) {
			s.broken(tt.name, tt.truncate)
			path := "/sessions/" + tt.name
			var tl seekindex.Timeline
			s.want(path+"/timeline", &tl)
			if len(tl.Problems) != 1 || tl.Problems[0].Kind != tt.kind || tl.Problems[0].TMS == 0 || tl.DurationMS == 0 {
				t.Errorf("timeline says %+v of %d ms", tl.Problems, tl.DurationMS)
			}
			out := s.want(path+"/output", nil)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if text := outputOf(t, out); !strings.HasPrefix(text, "<0>") || !strings.Contains(text, "<1>") {
				t.Errorf("what is good is not shown: %.20q", text)
			}
			var last []any
			must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
			if last[2] != "x" || !strings.Contains(last[3].(string), "part 2") {
				t.Errorf("output ends with %v", last)
			}
			evs := strings.TrimSpace(s.want(path+"/events?prints=1", nil))
			if end := evs[strings.LastIndex(evs, "\n")+1:]; !strings.Contains(end, `"code":"damaged"`) {
				t.Errorf("events end with %s", end)
			}
			if a := s.get(path + "/export?format=text"); a.status != 200 || !strings.Contains(a.trailer.Get("Tapedeck-Damage"), "part 2") || !strings.HasPrefix(a.body, "<0>") {
				t.Errorf("export is %d, trailer %v", a.status, a.trailer)
			}
			live := s.stream(s.admin, path+"/live").all()
			if live[len(live)-1].event != "end" || live[len(live)-2].event != "damaged" {
				t.Errorf("live ends with %v and %v", live[len(live)-2].event, live[len(live)-1].event)
			}
			var v struct {
				OK       bool
				Verdict  string
				Problems []string
			}
			a := s.do(s.request(s.admin, http.MethodPost, path+"/verify", nil))
			must(t, json.Unmarshal([]byte(a.body), &v))
			if v.OK || v.Verdict != tt.verdict || len(v.Problems) == 0 {
				t.Errorf("verify says %+v", v)
			}
		})
	}
}

func TestAnObjectThatIsNoRecordingIsToldOf(t *testing.T) {
	s := newSite(t)
	s.object("junk.tar", []byte("this is no recording at all, but somebody called it one"))
	s.object("junk.manifest.json", []byte(`{"version":1,"session":"junk"}`))
	s.put("gone", 1<<30, story(t).records)
	must(t, s.store.Delete(t.Context(), s.store.Key("gone.tar")))
	s.sync()
	if a := s.get("/sessions/junk/output"); a.status != http.StatusUnprocessableEntity && a.status != http.StatusOK {
		t.Errorf("output of junk is %d %s", a.status, a.body)
	}
	wantError(t, s.get("/sessions/junk/manifest"), http.StatusNotFound, "no_manifest")
	for _, what := range []string{"output", "timeline", "recording", "live"} {
		wantError(t, s.get("/sessions/gone/"+what), http.StatusNotFound, "not_found")
	}
	if a := s.do(s.request(s.admin, http.MethodPost, "/sessions/gone/verify", nil)); !strings.Contains(a.body, `"missing"`) && a.status != http.StatusNotFound {
		t.Errorf("verify is %d %s", a.status, a.body)
	}
}

func TestGapsAreShownWhereTheyAre(t *testing.T) {
	s := newSite(t)
	sc := terminal(t, "joe", "db-1").wait(time.Second).print("a").print("lost").print("lost").wait(time.Second).print("b")
	sc.records = append(sc.records[:2], sc.records[4:]...)
	s.finished("gap", sc)
	var tl seekindex.Timeline
	s.want("/sessions/gap/timeline", &tl)
	if len(tl.Problems) != 1 || tl.Problems[0].Kind != "gap" || tl.Problems[0].TMS != 2000 || tl.Problems[0].Text != "2 events are missing here." {
		t.Errorf("problems are %+v", tl.Problems)
	}
}

// Names come from whoever is recorded.
func TestHTMLAndEscapesInNamesStayText(t *testing.T) {
	s := newSite(t)
	evil := "<script>alert(1)</script>\x1b]52;c;eA==\x07\x1b[2J\"'&"
	sc := terminal(t, evil, "<img src=x onerror=alert(1)>").wait(time.Second).add(&events.SessionJoin{User: &events.UserMetadata{User: evil}})
	s.finished("evil", sc)
	for _, path := range []string{"/sessions", "/sessions/evil", "/sessions/evil/timeline", "/sessions/evil/events", "/sessions/evil/output", "/sessions/evil/live"} {
		a := s.get(path)
		if ct := a.header.Get("Content-Type"); strings.Contains(ct, "html") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is %s", path, ct)
		}
		if strings.ContainsAny(a.body, "\x1b\x07") {
			t.Errorf("%s has control characters as they were: %q", path, a.body)
		}
	}
	var list listPage
	s.want("/sessions?q=onerror", &list)
	if len(list.Sessions) != 1 || list.Sessions[0].User != evil {
		t.Errorf("it is not found by its name: %+v", list)
	}
	var tl seekindex.Timeline
	s.want("/sessions/evil/timeline", &tl)
	if label := tl.Markers[1].Label; !strings.HasPrefix(label, "<script>") || strings.ContainsAny(label, "\x1b\x07") {
		t.Errorf("label is %q", label)
	}
}

// An error of the store is not what a viewer is told, and an answer that has begun
// is cut rather than ended.
func TestErrorsSayNothingOfTheInside(t *testing.T) {
	s := newSite(t)
	s.finished("story", story(t))
	s.count.fail(true)
	defer s.count.fail(false)
	a := s.get("/sessions/story/timeline")
	wantError(t, a, http.StatusInternalServerError, "internal")
	if strings.Contains(a.body, "secret") {
		t.Errorf("it says %s", a.body)
	}
	resp, err := http.DefaultClient.Do(s.request(s.admin, http.MethodGet, "/sessions/story/output", nil))
	if err == nil {
		defer resp.Body.Close()
		buf := make([]byte, 1000)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if err.Error() == "EOF" && resp.StatusCode == http.StatusOK {
			t.Error("the answer looks whole")
		}
	}
}
